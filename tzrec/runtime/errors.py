"""The one exception for a user's mistake, and the nearest right spelling of a word."""

import difflib
import re
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can put right: shown as it is, without a traceback, exit status 2.

    The message says where, what was found, what is allowed and the next step.
    """


def nearest(word: str, allowed: Iterable[str]) -> str:
    """The tail of an error message: `; did you mean "x"?`, or "" when nothing is close."""
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else ""


def missing_columns(where: str, wanted: Iterable[str], present: Iterable[str]) -> UserError:
    """The error for columns of a table that are asked for and not there.

    Args:
        where: the file.
        wanted: names of the columns that are missing.
        present: names of the columns that are there.
    """
    present = list(present)
    lost = "; ".join(f'no column "{name}"{nearest(name, present)}' for name in wanted)
    return UserError(f"{where}: {lost}; the table has: {', '.join(present)}")


# `user:password@` of a URL, and what its query gives to keys: keys, signatures and tokens.
_LOGIN = re.compile(r"(\w[\w+.-]*://)[^/@\s]+@")
_QUERY = re.compile(r"(://[^\s?,]+\?)[^\s,]*=[^\s,;)]*")
_LOGIN_ITSELF = re.compile(r"\w[\w+.-]*://([^/@\s]+)@")
_QUERY_ITSELF = re.compile(r"://[^\s?,]+\?([^\s,]*=[^\s,;)]*)")


def without_secrets(text: str) -> str:
    """A text in which URLs have neither login nor query: these hold passwords, keys and signatures."""
    return _QUERY.sub(r"\1...", _LOGIN.sub(r"\1...@", text))


def secrets_in(text: str) -> list[str]:
    """The logins and queries of the URLs in a text, without what stands around them."""
    return [*_LOGIN_ITSELF.findall(text), *_QUERY_ITSELF.findall(text)]


def one_line(error: BaseException) -> str:
    """The first line of what an error of a library says, or its kind where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
