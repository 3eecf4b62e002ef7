"""One command for all: `tzrec train ...` is `python -m tzrec.train_eval ...`, and so on.

    tzrec COMMAND [flags]        tzrec COMMAND --help        tzrec --version

For several processes: `torchrun ... -m tzrec.train_eval`, which starts the module itself.
"""

import importlib
import sys
from typing import NoReturn

from tzrec import __version__
from tzrec.runtime.command import run
from tzrec.runtime.errors import UserError, nearest

# command -> (module, what it does)
COMMANDS = {
    "train": ("tzrec.train_eval", "train a model, save checkpoints, evaluate"),
    "eval": ("tzrec.eval", "evaluate a checkpoint"),
    "export": ("tzrec.export", "split a checkpoint into a user and an item tower"),
    "predict": ("tzrec.predict", "turn a table into vectors"),
    "hitrate": ("tzrec.tools.hitrate", "hit rate of user vectors against the item pool"),
    "index": ("tzrec.tools.create_faiss_index", "faiss index of item vectors"),
    "prepare-data": ("tzrec.tools.prepare_data", "tables and a configuration from known data sets"),
    "tutorial": ("tzrec.tools.tutorial", "all of these, one after another, on example data"),
}


def usage() -> str:
    """The list of commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join([(__doc__ or "").strip(), "", "commands:", *lines])


def main() -> NoReturn:
    """The console script `tzrec`."""
    name, words = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if name in ("--help", "-h"):
        print(usage())
        sys.exit(0)
    if name == "--version":
        print(f"tzrec {__version__}")
        sys.exit(0)
    if name not in COMMANDS:

        def refuse(_: object) -> None:
            raise UserError(
                f'no command "{name}"{nearest(name, COMMANDS)}; the commands are {", ".join(COMMANDS)}'
            )

        run("tzrec", refuse, words)
    module = COMMANDS[name][0]
    run(module, importlib.import_module(module).main, words)


if __name__ == "__main__":
    main()
