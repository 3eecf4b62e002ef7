"""Reading MovieLens as it is downloaded: ml-100k (`u.data` and so on) and ml-1m (`ratings.dat` and so on).

Both are latin-1 text without a header, one record a line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tzrec.runtime.errors import UserError

# The order of the 19 flags at the end of a line of u.item (u.genre names them).
GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller",
    "War", "Western",
)  # fmt: skip
_TITLE_YEAR = re.compile(r"\((\d{4})\)\s*$")


@dataclass(frozen=True)
class User:
    """A user as the file describes them; `zip_prefix` is the first two characters of the zip code."""

    gender: str
    age: int
    occupation: str
    zip_prefix: str


@dataclass(frozen=True)
class Movie:
    """A movie; `year` is that of its release, None when neither its date nor its title tells."""

    title: str
    year: int | None
    genres: list[str]


@dataclass(frozen=True)
class MovieLens:
    """The whole data set.

    Attributes:
        ratings: int64 [R, 4], user, item, rating, Unix seconds, in the order of the file.
        users: by user id.
        movies: by item id.
    """

    ratings: np.ndarray
    users: dict[int, User]
    movies: dict[int, Movie]


@dataclass(frozen=True)
class _Format:
    ratings: str
    movies: str
    users: str
    rating_separator: str
    separator: str
    movie_fields: int

    @property
    def files(self) -> tuple[str, str, str]:
        return self.ratings, self.movies, self.users


_ML_100K = _Format("u.data", "u.item", "u.user", "\t", "|", 5 + len(GENRES_100K))
_ML_1M = _Format("ratings.dat", "movies.dat", "users.dat", "::", "::", 3)


def read(input_dir: str) -> MovieLens:
    """Reads the format whose files are there.

    Raises:
        UserError: neither format is whole, a malformed line, a rating of an unknown user or
            movie; with file and line.
    """
    folder = Path(input_dir)
    kind = _format(folder, input_dir)
    users = _users(folder / kind.users, kind)
    movies = _movies(folder / kind.movies, kind)
    return MovieLens(_ratings(folder / kind.ratings, kind, users, movies), users, movies)


def _format(folder: Path, shown: str) -> _Format:
    if not folder.is_dir():
        raise UserError(f"--input_dir: {shown} is no folder; give the folder that MovieLens was unpacked to")
    for kind in (_ML_100K, _ML_1M):
        lost = [name for name in kind.files if not (folder / name).is_file()]
        if not lost:
            return kind
        if len(lost) < len(kind.files):
            raise UserError(
                f"--input_dir: {shown} lacks {', '.join(lost)}; the format has {', '.join(kind.files)}"
            )
    raise UserError(
        f"--input_dir: {shown} holds neither ml-100k ({', '.join(_ML_100K.files)}) "
        f"nor ml-1m ({', '.join(_ML_1M.files)})"
    )


def _records(path: Path, separator: str, fields: int) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of every line.

    Raises:
        UserError: a line with another number of fields.
    """
    with path.open(encoding="latin-1", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            parts = line.rstrip("\r\n").split(separator)
            if len(parts) != fields:
                raise UserError(
                    f"{path}:{number}: {len(parts)} fields separated by {separator!r} where there should be "
                    f"{fields}: {line[:80]!r}"
                )
            yield number, parts


def _integer(text: str, path: Path, line: int, name: str, least: int = 0) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) < least:
        raise UserError(f"{path}:{line}: the {name} is {text!r}; it must be an integer of at least {least}")
    return int(text)


def _users(path: Path, kind: _Format) -> dict[int, User]:
    users: dict[int, User] = {}
    for line, parts in _records(path, kind.separator, 5):
        user = _integer(parts[0], path, line, "user id", 1)
        _refuse_twice(user in users, path, line, "user", user)
        age, gender = (parts[1], parts[2]) if kind is _ML_100K else (parts[2], parts[1])
        if not gender:
            raise UserError(f"{path}:{line}: the gender is empty")
        users[user] = User(gender, _integer(age, path, line, "age"), parts[3], parts[4][:2])
    return users


def _movies(path: Path, kind: _Format) -> dict[int, Movie]:
    movies: dict[int, Movie] = {}
    for line, parts in _records(path, kind.separator, kind.movie_fields):
        item = _integer(parts[0], path, line, "item id", 1)
        _refuse_twice(item in movies, path, line, "item", item)
        if kind is _ML_100K:
            flags = parts[5:]
            if not set(flags) <= {"0", "1"}:
                raise UserError(f"{path}:{line}: the genres are {'|'.join(flags)}; each must be 0 or 1")
            genres = [genre for genre, flag in zip(GENRES_100K, flags, strict=True) if flag == "1"]
            movies[item] = Movie(parts[1], _year(parts[1], parts[2]), genres)
        else:
            genres = [genre for genre in parts[2].split("|") if genre]
            movies[item] = Movie(parts[1], _year(parts[1], ""), genres)
    return movies


def _year(title: str, date: str) -> int | None:
    """The year of a date such as 01-Jan-1995, else the one in brackets at the end of the title."""
    if date[-4:].isdigit():
        return int(date[-4:])
    found = _TITLE_YEAR.search(title)
    return int(found[1]) if found else None


def _ratings(path: Path, kind: _Format, users: dict[int, User], movies: dict[int, Movie]) -> np.ndarray:
    names = (("user id", 1), ("item id", 1), ("rating", 1), ("timestamp", 0))
    rows = []
    for line, parts in _records(path, kind.rating_separator, 4):
        row = [
            _integer(text, path, line, name, least) for text, (name, least) in zip(parts, names, strict=True)
        ]
        if row[0] not in users:
            raise UserError(f"{path}:{line}: user {row[0]} is not in {kind.users}")
        if row[1] not in movies:
            raise UserError(f"{path}:{line}: item {row[1]} is not in {kind.movies}")
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: has no rating; give the file as downloaded")
    return np.array(rows, np.int64)


def _refuse_twice(known: bool, path: Path, line: int, what: str, key: int) -> None:
    if known:
        raise UserError(f"{path}:{line}: {what} {key} stands in this file twice")
