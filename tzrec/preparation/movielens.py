"""MovieLens as tables: every rating is a positive, each user's last one is held out.

The order of events is (timestamp, line of the file): of two ratings in the same second the
later line is the later event. A rating's history is what the user rated before it in that order.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from tzrec.preparation.config_text import CONFIG, Feature, Paths, Recipe, pipeline_text
from tzrec.preparation.movielens_files import MovieLens, read
from tzrec.preparation.tables import chunks, negative_weights, write_negatives, write_parts

HISTORY_LENGTH = 50
ITEM_COLUMNS = ["item_id", "genres", "release_year"]
ITEM_SCHEMA = pa.schema(
    [("item_id", pa.int64()), ("genres", pa.list_(pa.string())), ("release_year", pa.int64())]
)
POOL_SCHEMA = ITEM_SCHEMA.append(pa.field("title", pa.string()))
USER_SCHEMA = pa.schema(
    [
        ("user_id", pa.int64()),
        ("gender", pa.string()),
        ("age", pa.int64()),
        ("occupation", pa.string()),
        ("zip_prefix", pa.string()),
    ]
)
ROW_SCHEMA = pa.schema(
    [
        *USER_SCHEMA,
        ("history", pa.list_(pa.int64())),
        *ITEM_SCHEMA,
        ("rating", pa.int64()),
        ("timestamp", pa.int64()),
    ]
)
AGE_EDGES = (18, 25, 30, 35, 40, 45, 50, 56)
YEAR_EDGES = (1940, 1950, 1960, 1970, 1975, 1980, 1985, 1990, 1992, 1994, 1995, 1996, 1997, 1998, 1999, 2000)
RECIPE = Recipe(
    batch_size=1024,
    epochs=15,
    sparse_lr=0.05,
    dense_lr=0.001,
    negatives=512,
    embedding_dim=32,
    hidden_units=(128, 64),
    output_dim=32,
    temperature=0.1,
    workers=2,
    dropout=0.2,
    shuffle=True,
)


class Events:
    """All ratings in the order of (user, timestamp, line of the file).

    Args:
        ratings: int64 [R, 4], as `MovieLens.ratings`.

    Attributes:
        ratings: int64 [R, 4], sorted.
        place: int64 [R], how many events of the same user come before each.
        is_last: bool [R], the user's last event, False where the user has no other.
    """

    def __init__(self, ratings: np.ndarray) -> None:
        order = np.lexsort((np.arange(len(ratings)), ratings[:, 3], ratings[:, 0]))
        self.ratings = ratings[order]
        users = self.ratings[:, 0]
        begins = np.concatenate([[True], users[1:] != users[:-1]])
        starts = np.flatnonzero(begins)
        self.place = np.arange(len(users)) - np.repeat(starts, np.diff([*starts, len(users)]))
        self.is_last = np.concatenate([begins[1:], [True]]) & (self.place > 0)

    def history(self, rows: np.ndarray, most: int) -> pa.Array:
        """What came before these events: at most `most` item ids each, the most recent ones.

        The oldest stands first. The event's own item is left out should the user have rated it before.

        Args:
            rows: int64 [N], which events.
            most: items a history.

        Returns:
            list<int64> [N].
        """
        lengths = np.minimum(self.place[rows], most)
        ends = np.cumsum(lengths)
        within = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
        flat = self.ratings[np.repeat(rows - lengths, lengths) + within, 1]
        kept = flat != np.repeat(self.ratings[rows, 1], lengths)
        before = np.concatenate([[0], np.cumsum(kept)])
        offsets = before[np.concatenate([[0], ends])]
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(flat[kept]))


def write(folder: Path, output_dir: str, input_dir: str, history_length: int, power: float) -> dict[str, int]:
    """Writes the four tables and the configuration.

    Args:
        folder: where to write.
        output_dir: the folder's later name, for the configuration.
        input_dir: the unpacked download.
        history_length: items of a history at the most.
        power: of the negatives' weights.

    Returns:
        rows by table.

    Raises:
        UserError: files that are missing or malformed.
    """
    data = read(input_dir)
    events = Events(data.ratings)
    users, items = _user_table(data), _item_table(data)
    user_ids, item_ids = np.array(sorted(data.users)), np.array(sorted(data.movies))

    def tables(rows: np.ndarray) -> Iterator[pa.Table]:
        for start, stop in chunks(len(rows)):
            piece = rows[start:stop]
            user, item, rating, seconds = events.ratings[piece].T
            who = users.take(pa.array(np.searchsorted(user_ids, user)))
            what = items.select(ITEM_COLUMNS).take(pa.array(np.searchsorted(item_ids, item)))
            columns = {name: who[name] for name in USER_SCHEMA.names}
            columns["history"] = events.history(piece, history_length)
            columns |= {name: what[name] for name in ITEM_COLUMNS}
            yield pa.table({**columns, "rating": rating, "timestamp": seconds}, ROW_SCHEMA)

    train = np.flatnonzero(~events.is_last)
    # By time over all users, as a log would be; the order within a user stays.
    train = train[np.argsort(events.ratings[train, 3], kind="stable")]
    held_out = np.flatnonzero(events.is_last)
    counts = np.bincount(np.searchsorted(item_ids, events.ratings[train, 1]), minlength=len(item_ids))
    written = {
        "train": write_parts(folder / "train", tables(train), ROW_SCHEMA, len(train), least=2),
        "eval": write_parts(folder / "eval", tables(held_out), ROW_SCHEMA, len(held_out)),
        "item": write_parts(folder / "item", [items], POOL_SCHEMA, items.num_rows),
        "negatives": write_negatives(
            folder / "negatives.txt", items, "item_id", ITEM_COLUMNS, negative_weights(counts, power)
        ),
    }
    (folder / CONFIG).write_text(config_text(output_dir, data), encoding="utf-8")
    return written


def _user_table(data: MovieLens) -> pa.Table:
    rows = [(key, data.users[key]) for key in sorted(data.users)]
    columns = {name: [getattr(user, name) for _, user in rows] for name in USER_SCHEMA.names[1:]}
    return pa.table({"user_id": [key for key, _ in rows], **columns}, USER_SCHEMA)


def _item_table(data: MovieLens) -> pa.Table:
    rows = [(key, data.movies[key]) for key in sorted(data.movies)]
    return pa.table(
        {
            "item_id": [key for key, _ in rows],
            "genres": [movie.genres for _, movie in rows],
            "release_year": [movie.year for _, movie in rows],
            "title": [movie.title for _, movie in rows],
        },
        POOL_SCHEMA,
    )


def config_text(output_dir: str, data: MovieLens) -> str:
    """The configuration for these tables in this folder."""

    def words(values: set[str]) -> tuple[str, tuple[str, ...]]:
        return ("vocab_list", tuple(sorted(values - {""})))

    items = max(data.movies) + 1
    users = data.users.values()
    # The history and the item share a table: a movie is the same whether seen or asked for.
    shared = [("embedding_name", "item_emb"), ("num_buckets", items), ("pooling", "mean")]
    features = [
        Feature("id_feature", "user", "user_id", [("num_buckets", max(data.users) + 1)]),
        Feature("id_feature", "user", "gender", [words({user.gender for user in users})]),
        Feature("raw_feature", "user", "age", [("boundaries", AGE_EDGES)]),
        Feature("id_feature", "user", "occupation", [words({user.occupation for user in users})]),
        Feature("id_feature", "user", "zip_prefix", [("hash_bucket_size", 200)]),
        Feature("id_feature", "user", "history", shared),
        Feature("id_feature", "item", "item_id", shared),
        Feature(
            "id_feature",
            "item",
            "genres",
            [words({genre for movie in data.movies.values() for genre in movie.genres}), ("pooling", "mean")],
        ),
        Feature("raw_feature", "item", "release_year", [("default_value", ""), ("boundaries", YEAR_EDGES)]),
    ]
    return pipeline_text(
        "Generated by tzrec.tools.prepare_data movielens.",
        Paths.under(output_dir),
        features,
        RECIPE,
        "item_id",
        ITEM_COLUMNS,
        "rating",
    )
