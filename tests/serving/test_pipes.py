"""An exported folder with a pipe in place of a file: to open it would wait for ever."""

import os
from pathlib import Path

import pytest

from tzrec.runtime.errors import UserError
from tzrec.serving.files import CHECKSUMS
from tzrec.serving.seal import check_seal


def test_a_pipe_in_place_of_the_checksums(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / CHECKSUMS)
    with pytest.raises(UserError, match=r"checksums\.json: is no file; copy the folder again"):
        check_seal(tmp_path)
