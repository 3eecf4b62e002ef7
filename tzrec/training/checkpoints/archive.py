"""The archive of one tensor, as torch.save writes it: looked at before torch opens it.

torch unpacks what is compressed, so a file of a megabyte could ask for a gigabyte, and its unpickler
hashes what a crafted file gives it as a key, which may never end.
"""

import io
import zipfile
from typing import Any, BinaryIO

from tzrec.training.checkpoints.plain_pickle import PlainUnpickler, StandIn

# Bytes of the description of a tensor; about 150 are written.
LONGEST = 1 << 16

KINDS = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
CLASSES = {
    ("torch._utils", "_rebuild_tensor_v2"),
    ("collections", "OrderedDict"),
    *(("torch", f"{kind}Storage") for kind in KINDS),
}


class _Part(io.RawIOBase):
    """Bytes of a file as a file: torch's own cannot be read to its end, as zipfile asks for."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self.file, self.start, self.length, self.at = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + (0, self.at, self.length)[whence]
        if self.at < 0:
            raise OSError("before the begin")
        return self.at

    def readinto(self, buffer: Any) -> int:
        self.file.seek(self.start + self.at)
        read = self.file.read(min(len(buffer), max(self.length - self.at, 0)))
        buffer[: len(read)] = read
        self.at += len(read)
        return len(read)


def check_archive(file: BinaryIO, start: int, length: int) -> None:
    """Holds an archive to what torch.save writes for one tensor of numbers.

    Args:
        file: holds the archive.
        start, length: where, in bytes.

    Raises:
        Exception: of many kinds: it is damaged, or holds something else.
    """
    with zipfile.ZipFile(io.BufferedReader(_Part(file, start, length))) as archive:
        records = archive.infolist()
        _require(all(record.compress_type == zipfile.ZIP_STORED for record in records))
        _require(sum(record.file_size for record in records) <= length)
        _require(len({record.filename for record in records}) == len(records))
        (described,) = (record for record in records if record.filename.endswith("/data.pkl"))
        _require(described.file_size <= LONGEST)
        held = PlainUnpickler(archive.read(described), CLASSES).load()
    _require(isinstance(held, StandIn) and type(held).__name__ == "_rebuild_tensor_v2")
    _require(len(held.arguments) == 6)
    _, first, size, stride, _, hooks = held.arguments
    _require(_is_counts([first]) and _is_counts(size) and _is_counts(stride))
    _require(isinstance(hooks, StandIn) and not hooks.arguments and hooks.state is None)


def _is_counts(values: Any) -> bool:
    return len(values) <= 8 and all(type(value) is int and value >= 0 for value in values)


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError
