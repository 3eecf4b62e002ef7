"""TorchScript to a file and back, with failures as exceptions.

torch writes a file in C++ and ends the process (std::terminate) when the disk is full; into memory it
holds the file three times. So it writes into a pipe here, and a small process puts what comes out of
it into the file: nothing is held, and what the disk says comes back.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

# From stdin to stdout; says the checksum, or what failed, on stderr. It reads to the end in any case:
# a pipe that nobody empties would end torch.
_COPIER = """
import json, os, sys, zlib
crc, error = 0, None
while block := os.read(0, 1 << 20):
    crc = zlib.crc32(block, crc)
    try:
        while block and error is None:
            block = block[os.write(1, block):]
    except OSError as found:
        error = found.errno
try:
    os.fsync(1)
except OSError as found:
    error = error or found.errno
sys.stderr.write(json.dumps([crc, error]))
"""


def save(model: torch.jit.ScriptModule, path: Path) -> str:
    """Writes a model to a new file and syncs it to the disk; returns the file's CRC-32.

    Raises:
        OSError: the file cannot be written; it names the file.
    """
    with open(path, "xb") as file:
        reader, writer = os.pipe()
        try:
            copier = subprocess.Popen(
                # Isolated, without site: it starts in 10 ms and reads nothing of anybody's.
                [sys.executable, "-I", "-S", "-c", _COPIER],
                stdin=reader,
                stdout=file,
                stderr=subprocess.PIPE,
                # Ctrl-C is for this process; the copier ends with the pipe.
                start_new_session=True,
            )
        except BaseException:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        try:
            model.save(f"/dev/fd/{writer}")
        finally:
            os.close(writer)
            said = copier.communicate()[1]
    try:
        crc, error = json.loads(said)
    except ValueError:
        raise RuntimeError(
            f"{path}: the process that writes the file ended ({copier.returncode}): {said!r}"
        ) from None
    if error is not None:
        raise OSError(error, os.strerror(error), str(path))
    return f"{crc:08x}"
