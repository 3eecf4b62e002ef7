"""Every output flag of every command, given what cannot be written: one line before any work."""

from collections.abc import Callable, Sequence

import pytest

from tests.small import Small
from tzrec import eval as evaluation
from tzrec import export, predict, train_eval
from tzrec.runtime.errors import UserError
from tzrec.tools import create_faiss_index, hitrate, prepare_data, tutorial

Main = Callable[[Sequence[str]], None]


def config(small: Small, model_dir: str) -> str:
    changed = small.root / "changed.config"
    text = small.config.read_text()
    changed.write_text(text.replace(f'model_dir: "{small.root}/model"', f'model_dir: "{model_dir}"'))
    return str(changed)


def tables(small: Small) -> list[str]:
    return ["--user_gt_input", f"{small.root}/eval", "--item_embedding_input", f"{small.root}/item"]


def pipeline(small: Small) -> list[str]:
    return ["--pipeline_config_path", str(small.config)]


# command and flag -> what runs it on a path.
OUTPUTS: dict[str, tuple[str, Main, Callable[[Small, str], list[str]]]] = {
    "train": ("--model_dir", train_eval.main, lambda small, path: [*pipeline(small), "--model_dir", path]),
    "eval": (
        "model_dir",
        evaluation.main,
        lambda small, path: ["--pipeline_config_path", config(small, path), "--checkpoint_path", "x"],
    ),
    "export": ("--export_dir", export.main, lambda small, path: [*pipeline(small), "--export_dir", path]),
    "predict": (
        "--predict_output_path",
        predict.main,
        lambda small, path: [
            *("--scripted_model_path", "x", "--predict_input_path", f"{small.root}/eval"),
            *("--predict_output_path", path),
        ],
    ),
    "index": (
        "--index_output_dir",
        create_faiss_index.main,
        lambda small, path: ["--embedding_input_path", f"{small.root}/item", "--index_output_dir", path],
    ),
    "prepare_data": ("--output_dir", prepare_data.main, lambda small, path: ["demo", "--output_dir", path]),
    "tutorial": ("--work_dir", tutorial.main, lambda small, path: ["demo", "--work_dir", path]),
    **{
        f"hitrate {flag}": (
            flag,
            hitrate.main,
            lambda small, path, flag=flag: [*tables(small), flag, path],  # type: ignore[misc]
        )
        for flag in ("--total_hitrate_output", "--hitrate_details_output", "--report")
    },
}
PATHS = {
    "empty": ("", "the path is empty"),
    "root": ("/", "root of the file system"),
    "URL": ("s3://bucket/out", "is a URL"),
    "long": ("ROOT/" + "n" * 300, "is too long"),
    "file": ("ROOT/negatives.txt", "is (a file|there already)"),
    "below a file": ("ROOT/negatives.txt/out", "is a file"),
}


@pytest.mark.parametrize(("path", "said"), PATHS.values(), ids=PATHS.keys())
@pytest.mark.parametrize(("flag", "main", "words"), OUTPUTS.values(), ids=OUTPUTS.keys())
def test_an_output_that_cannot_be_is_told_first(
    small: Small, flag: str, main: Main, words, path: str, said: str
) -> None:
    """--model_dir s3://... trained into ./s3:; an evaluation lost its metrics at its end."""
    given = words(small, path.replace("ROOT", str(small.root)))
    before = sorted(small.root.rglob("*"))
    with pytest.raises(UserError, match=f"^{flag}: .*{said}") as error:
        main(given)
    assert "\n" not in str(error.value)
    assert sorted(small.root.rglob("*")) == before


def test_a_report_inside_the_details(small: Small) -> None:
    details = small.root / "details"
    words = [*tables(small), "--hitrate_details_output", str(details), "--report", f"{details}/a.html"]
    with pytest.raises(UserError, match=r"--report: .* is or lies within .* of --hitrate_details_output"):
        hitrate.main(words)
