"""Vocabulary files: a word a line, numbered from 0, or a word, a tab and its id on every line."""

from collections.abc import Mapping

from tzrec.runtime.errors import UserError


def read_vocabulary(path: str, feature: str) -> Mapping[str, int]:
    """The id of every word of a file.

    Raises:
        UserError: a file that is not there or not UTF-8, an empty line, a word twice, an id that is none.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(
            f'feature "{feature}": vocab_file {path}: {reason}; give a file of text, a word a line'
        ) from None
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise UserError(f'feature "{feature}": vocab_file {path}: empty; give a word a line')
    numbered = "\t" in lines[0]
    ids: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        where = f'feature "{feature}": vocab_file {path}:{number}'
        word, tab, text = line.rstrip("\r").partition("\t")
        if bool(tab) != numbered:
            raise UserError(f"{where}: every line has a word, or every line a word, a tab and an id")
        if numbered and not (text.isascii() and text.isdigit() and int(text) < 2**31):
            raise UserError(f'{where}: "{text}" is no id; give an integer from 0')
        if not word:
            raise UserError(f"{where}: no word; leave out lines without one")
        if word in ids:
            raise UserError(f'{where}: "{word}" stands there twice; leave one of them out')
        ids[word] = int(text) if numbered else number - 1
    return ids
