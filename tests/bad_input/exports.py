"""Exported folders of which a file is missing, cut, garbage, or of another model."""

# ruff: noqa: E501 (tables: a row an attack)

import json
import shutil
from collections.abc import Callable

from tests.bad_input.row import Desk, row
from tests.bad_input.tables import cut, filled

MODEL, CONFIG, FEATURES, OUTPUTS = (
    f"export/user/{name}" for name in ("scripted_model.pt", "pipeline.config", "fg.json", "model_acc.json")
)


def of_the_items(name: str) -> Callable[[Desk], None]:
    """The file of the other tower."""
    return lambda desk: shutil.copyfile(desk / f"export/item/{name}", desk / f"export/user/{name}") and None


def changed(name: str, change: Callable[[dict], object]) -> Callable[[Desk], None]:
    def spoil(desk: Desk) -> None:
        (desk / name).write_text(json.dumps(change(json.loads((desk / name).read_text()))))

    return spoil


AGAIN = "export it again"

ROWS = [
    *(row("predict", f"an exported folder without {name.rsplit('/')[-1]}", name.rsplit("/")[-1], "tzrec.export", spoil=lambda desk, name=name: desk.remove(name)) for name in (MODEL, CONFIG, FEATURES, OUTPUTS)),
    *(
        row("predict", f"an exported {name.rsplit('/')[-1]} {attack}", name.rsplit("/")[-1], AGAIN, spoil=spoil(name))
        for name in (MODEL, FEATURES, OUTPUTS)
        for attack, spoil in (
            ("of no byte", lambda name: filled(name, b"")),
            ("cut", lambda name: cut(name, 0.6)),
            ("of garbage", lambda name: filled(name, b"\x93garbage" * 50)),
            ("of the other tower", lambda name: of_the_items(name.rsplit("/")[-1])),
        )
    ),
    row("predict", "an exported pipeline.config of no byte", CONFIG, "export it again", spoil=filled(CONFIG, b"")),
    row("predict", "an exported pipeline.config cut", CONFIG, "export it again", spoil=cut(CONFIG, 0.6)),
    row("predict", "an exported pipeline.config of garbage", CONFIG, "export it again", spoil=filled(CONFIG, b"\x93garbage" * 50)),
    row("predict", "an exported pipeline.config with a smaller table", "pipeline.config", AGAIN, spoil=lambda desk: desk.replace(CONFIG, "num_buckets: 200", "num_buckets: 100")),
    row("predict", "an fg.json that is a list", "fg.json", AGAIN, spoil=filled(FEATURES, b"[]")),
    row("predict", "an fg.json without features", "fg.json", AGAIN, spoil=filled(FEATURES, b"{}")),
    row("predict", "an fg.json with a feature that is not there", "fg.json", AGAIN, spoil=changed(FEATURES, lambda found: {"features": [*found["features"], {"feature_name": "nobody"}]})),
    row("predict", "an fg.json with a feature fewer", "fg.json", AGAIN, spoil=changed(FEATURES, lambda found: {"features": found["features"][1:]})),
    row("predict", "a model_acc.json that is a number", "model_acc.json", AGAIN, spoil=filled(OUTPUTS, b"3")),
    row("predict", "a model_acc.json with an output that is not there", "model_acc.json", AGAIN, "--output_columns nothing_emb", spoil=changed(OUTPUTS, lambda found: {**found, "outputs": ["nothing_emb"]})),
    row("predict", "a model_acc.json of another format", "model_acc.json", AGAIN, spoil=changed(OUTPUTS, lambda found: {**found, "format": "aot"})),
    row("predict", "a zip file for the model", "scripted_model.pt", AGAIN, spoil=lambda desk: (shutil.make_archive(str(desk / "x"), "zip", desk / "item"), (desk / "x.zip").rename(desk / MODEL))[0]),
]  # fmt: skip
