"""Checkpoints of which a file is missing, cut, garbage, or of another model; for all that read them."""

# ruff: noqa: E501 (tables: a row an attack)

import json
import pickle
import shutil
from collections.abc import Callable

from tests.bad_input.row import Desk, Row, row
from tests.bad_input.tables import cut, filled
from tzrec.training.checkpoints.facts import parse_facts, write_facts

NEWEST = "trained/model.ckpt-16"
# Commands that read the newest checkpoint of `trained`, and what they may have made before they see it.
READERS = {
    "eval": "",
    "export": "",
    "train": "--pipeline_config_path trained/pipeline.config --continue_train",
}


class Program:
    """What a pickle can be: a program that its reader runs."""

    def __reduce__(self) -> tuple:
        return (open, ("stolen.txt", "w"))


def other_measures(desk: Desk) -> None:
    """The best is asked for by a measure that no evaluation of these checkpoints has reported."""
    wanted = 'export_config { exporter_type: "best" best_exporter_metric: "recall@5" }\ndata_config {'
    desk.replace("trained/pipeline.config", "data_config {", wanted)
    for step in (8, 16):
        facts = parse_facts(desk / f"trained/model.ckpt-{step}")
        facts.metrics = {"recall@1" if name == "recall@5" else name: 0.5 for name in facts.metrics}
        write_facts(desk / f"trained/model.ckpt-{step}", facts)


def flipped(name: str, place: float) -> Callable[[Desk], None]:
    """A file with one bit flipped, at this share of its length."""

    def spoil(desk: Desk) -> None:
        content = bytearray((desk / name).read_bytes())
        content[int(len(content) * place)] ^= 4
        (desk / name).write_bytes(bytes(content))

    return spoil


def state(change: Callable[[dict], object]) -> Callable[[Desk], None]:
    """state.json with another content."""

    def spoil(desk: Desk) -> None:
        path = desk / NEWEST / "state.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return spoil


def of_an_earlier_step(name: str) -> Callable[[Desk], None]:
    """A file of the checkpoint before in place of this one's."""
    return lambda desk: (
        shutil.copyfile(desk / f"trained/model.ckpt-8/{name}", desk / f"{NEWEST}/{name}") and None
    )


def a_folder(name: str) -> Callable[[Desk], None]:
    def spoil(desk: Desk) -> None:
        (desk / name).unlink()
        (desk / name).mkdir()

    return spoil


DISTCP = f"{NEWEST}/__0_0.distcp"
METADATA = f"{NEWEST}/.metadata"
STATE = f"{NEWEST}/state.json"

# attack, what is done, the file that the line must name
DAMAGES: list[tuple[str, Callable[[Desk], None], str]] = [
    ("without .metadata", lambda desk: desk.remove(METADATA), METADATA),
    (".metadata of no byte", filled(METADATA, b""), METADATA),
    (".metadata cut", cut(METADATA, 0.5), METADATA),
    (".metadata of garbage", filled(METADATA, b"\x93garbage" * 100), METADATA),
    (".metadata that is a program", lambda desk: (desk / METADATA).write_bytes(pickle.dumps(Program())) and None, METADATA),
    (".metadata that is another pickle", filled(METADATA, pickle.dumps({"a": 1})), METADATA),
    ("with a bit of .metadata flipped", flipped(METADATA, 0.6), METADATA),
    (".metadata that is a folder", a_folder(METADATA), METADATA),
    ("without a part", lambda desk: desk.remove(DISTCP), DISTCP),
    ("with a part of no byte", filled(DISTCP, b""), DISTCP),
    ("with a part cut", cut(DISTCP, 0.6), DISTCP),
    ("with a part of garbage", filled(DISTCP, b"\x93garbage" * 5000), DISTCP),
    ("with a bit of a part flipped", flipped(DISTCP, 0.5), DISTCP),
    ("with the part of an earlier step", of_an_earlier_step("__0_0.distcp"), DISTCP),
    ("state.json of no byte", filled(STATE, b""), STATE),
    ("state.json cut", cut(STATE, 0.5), STATE),
    ("state.json of garbage", filled(STATE, b"\x93garbage" * 9), STATE),
    ("state.json that is a list", filled(STATE, b"[]"), STATE),
    ("state.json without a position", state(lambda found: {**found, "position": {}}), STATE),
    ("state.json with a word for the step", state(lambda found: {**found, "position": {**found["position"], "step": "x"}}), STATE),
]  # fmt: skip


def rows_of(command: str, words: str) -> list[Row]:
    return [
        row(command, f"a checkpoint {attack}", file, "model.ckpt-8", words, spoil=spoil)
        for attack, spoil, file in DAMAGES
    ]


ROWS = [
    *(one for command, words in READERS.items() for one in rows_of(command, words)),
    row("train", "an existing model_dir", ("trained", "model.ckpt-16"), "--continue_train", "--model_dir trained"),
    row("train", "going on with other layers", (NEWEST, "does not fit the model"), "configuration it was made with", "--pipeline_config_path trained/pipeline.config --continue_train", spoil=lambda desk: desk.replace("trained/pipeline.config", "hidden_units: 16", "hidden_units: 24")),
    row("train", "going on with another optimizer", (NEWEST, "another state of the optimizers"), "add --ignore_restore_optimizer", "--pipeline_config_path trained/pipeline.config --continue_train", spoil=lambda desk: desk.replace("trained/pipeline.config", "adam_optimizer", "adadelta_optimizer")),
    row("train", "fine-tuning from a checkpoint without .metadata", METADATA, "model.ckpt-8", f"--fine_tune_checkpoint {NEWEST}", spoil=lambda desk: desk.remove(METADATA)),
    row("train", "fine-tuning from a checkpoint with a part cut", DISTCP, "model.ckpt-8", f"--fine_tune_checkpoint {NEWEST}", spoil=cut(DISTCP, 0.5)),
    row("train", "fine-tuning from a file", "negatives.txt", "checkpoint", "--fine_tune_checkpoint negatives.txt"),
    row("train", "fine-tuning from an empty folder", "empty", "checkpoint", "--fine_tune_checkpoint empty", spoil=lambda desk: (desk / "empty").mkdir()),
    row("train", "fine-tuning into layers of another width", (NEWEST, "16", "24"), "another name", f"--fine_tune_checkpoint {NEWEST}", spoil=lambda desk: desk.replace("pipeline.config", "hidden_units: [16]", "hidden_units: [24]")),
    *(
        row("train", f"a map of names {attack}", ("map.txt", *says), step, f"--fine_tune_checkpoint {NEWEST}", spoil=lambda desk, text=text: ((desk / "map.txt").write_text(text), desk.replace("pipeline.config", "num_steps: 16", 'num_steps: 16 fine_tune_ckpt_param_map: "map.txt"'))[0])
        for attack, text, says, step in (
            ("with one word in a line", "abc\n", (":1", '"abc"'), "one pair a line"),
            ("with a name twice", "a\tb\na\tc\n", (":2", "a"), "name it once"),
        )
    ),
    row("train", "a map to a parameter that is not there", ("fine_tune_ckpt_param_map", "nothing"), "parameter", f"--fine_tune_checkpoint {NEWEST}", spoil=lambda desk: ((desk / "map.txt").write_text("nothing\tnothing\n"), desk.replace("pipeline.config", "num_steps: 16", 'num_steps: 16 fine_tune_ckpt_param_map: "map.txt"'))[0]),
    row("export", "the best of checkpoints without measures", "best_exporter_metric", "recall@1", spoil=other_measures),
]  # fmt: skip
