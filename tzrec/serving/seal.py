"""checksums.json: what every file of an exported folder was when it was written.

    {"algorithm": "CRC-32", "files": {"fg.json": "6a1c02d3", ...}, "checksum": CRC-32 of the files' list}

It has a file of its own because other programs read the keys of model_acc.json and others of theirs
stand beside it; files that are added to the folder later are not in it.
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

from tzrec.runtime.checksum import damaged
from tzrec.runtime.errors import UserError
from tzrec.serving.files import AGAIN, CHECKSUMS, is_plain, write_file


def write_seal(folder: Path, checksums: Mapping[str, str]) -> None:
    """Writes the checksums of the folder's files, by their names."""
    write_file(folder / CHECKSUMS, _text(checksums))


def check_seal(folder: Path) -> bool:
    """Reads every file that the folder had when it was written; False if it has no checksums.

    Costs the reading of all files, and 0.35 s of a core a GB for the checksums.

    Raises:
        UserError: a file that is not what was written, or is gone.
    """
    path = folder / CHECKSUMS
    if not path.exists():
        return False
    if not path.is_file():  # To open a pipe would wait for ever.
        raise UserError(f"{path}: is no file; {AGAIN}")
    written = path.read_bytes()
    try:
        expected = json.loads(written)["files"]
        # Whatever byte is another one: the text made of what was read is no longer the text read.
        whole = _text(expected) == written and all(map(is_plain, expected))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise UserError(f"{path}: the file is damaged; {AGAIN}")
    name = damaged(folder, {os.fsdecode(name.encode(*_ENCODING)): crc for name, crc in expected.items()})
    if name is not None:
        what = "is not what tzrec.export wrote: its checksum differs"
        if not (folder / name).is_file():
            what = "is missing"
        raise UserError(f"{folder / name}: the file {what}; {AGAIN}")
    return True


# Names of files are bytes, whose text depends on the locale.
_ENCODING = ("utf-8", "surrogateescape")


def _text(checksums: Mapping[str, str]) -> bytes:
    files = {os.fsencode(name).decode(*_ENCODING): checksums[name] for name in sorted(checksums)}
    own = f"{zlib.crc32(json.dumps(files).encode()):08x}"
    whole = {"algorithm": "CRC-32", "files": files, "checksum": own}
    return (json.dumps(whole, indent=2) + "\n").encode()
