"""The same attacks by the real launchers: what `server.py` imitates, `python -m` and torchrun do.

The attack that is repeated: a mistake in a flag, in a configuration, and in a file that one of two
ranks reads; torchrun's own report about the failed ranks stands beside the one line of ours.
"""

import pytest

from tests.small import Small, command


def corrupt(small: Small) -> None:
    """Only the second rank reads this file to its end; the footer stays whole."""
    path = small.root / "train" / "b.parquet"
    content = bytearray(path.read_bytes())
    content[4:2000] = b"\xff" * 1996
    path.write_bytes(bytes(content))


def test_one_process(small: Small) -> None:
    done = command("tzrec.train_eval", "--pipeline_config_path", small.config, "--model_dirr", "x")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(
        'tzrec.train_eval: error: unknown flag --model_dirr; did you mean "--model_dir"?'
    )
    assert len(done.stderr.strip().splitlines()) == 1
    assert not small.model.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model_dirr", "x"], "unknown flag --model_dirr"),
        ([], "b.parquet: cannot be read as parquet"),
    ],
)
def test_torchrun(small: Small, words: list[str], message: str) -> None:
    corrupt(small)
    done = command(
        "tzrec.train_eval", "--pipeline_config_path", small.config, *words, processes=2, timeout=60
    )
    assert done.returncode != 0
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("tzrec.train_eval: error:")]
    assert message in line
    # The rest is torchrun's report of the rank that failed first, with our status.
    assert "exitcode" in done.stderr
    assert not list(small.model.glob("model.ckpt-*"))
