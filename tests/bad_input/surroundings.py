"""Variables of the environment that are wrong, and caches that cannot be used."""

# ruff: noqa: E501 (tables: a row an attack)

from tests.bad_input.row import Desk, row

PATIENCE = ("", "soon", "0", "-5", "nan", "inf")


def file(desk: Desk) -> None:
    (desk / "file").write_text("keep")


ROWS = [
    *(
        row(command, f"TZREC_PATIENCE={value!r}", ("TZREC_PATIENCE", f'"{value}"'), "set another", environment={"TZREC_PATIENCE": value})
        # A command of one process that waits for nobody does not read it.
        for command in ("train", "eval")
        for value in (PATIENCE if command == "train" else ("soon",))
    ),
    *(
        row(command, f"{name}={value!r}", (name, value), "torchrun", environment={name: value})
        for command, name, value in (
            ("train", "WORLD_SIZE", "two"),
            ("train", "WORLD_SIZE", "0"),
            ("train", "WORLD_SIZE", "-1"),
            ("train", "WORLD_SIZE", "2"),
            ("train", "RANK", "first"),
            ("train", "RANK", "1"),
            ("train", "RANK", "-1"),
            ("train", "LOCAL_RANK", "x"),
            ("train", "LOCAL_WORLD_SIZE", "0"),
            ("eval", "WORLD_SIZE", "2"),
            ("export", "WORLD_SIZE", "many"),
            ("predict", "WORLD_SIZE", "2"),
            ("hitrate", "WORLD_SIZE", "2"),
            ("hitrate", "RANK", "x"),
            ("index", "WORLD_SIZE", "x"),
        )
    ),
    row("train", "MASTER_PORT that is no number", "MASTER_PORT", "torchrun", environment={"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "port"}),
    row("train", "a cache that is a file", ("file", "cannot"), "TZREC_CACHE_DIR", environment={"TZREC_CACHE_DIR": "file"}, spoil=file),
    row("train", "a cache below a file", ("file/cache", "cannot"), "TZREC_CACHE_DIR", environment={"TZREC_CACHE_DIR": "file/cache"}, spoil=file),
    row("train", "a cache that nobody can write", ("/proc/cache", "cannot"), "TZREC_CACHE_DIR", environment={"TZREC_CACHE_DIR": "/proc/cache"}),
    row("hitrate", "TMPDIR that is not there, and no room elsewhere", "TMPDIR", "room", environment={"TMPDIR": "/proc/nowhere"}, file_limit=3000),
]  # fmt: skip
