"""Operators that compare two inputs of a row: dot product of sparse vectors, overlap of texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tzrec.features.maps import codes_of, entries_of, pairs
from tzrec.features.values import Rows, numbers, placed, rows_of


@dataclass(frozen=True)
class KvDot:
    """The dot product of two sparse vectors `k:v` over the keys they share; a plain element counts 1.

    A row where one of them is missing has no value.

    Attributes:
        separator: between elements in one text.
        delimiter: between key and value.
    """

    separator: str
    delimiter: str = ":"

    def __call__(self, inputs: Sequence[pa.Array], where: str) -> Rows:
        sides = [entries_of(column, self.separator, self.delimiter, where).keyed() for column in inputs]
        values = []
        for side in sides:
            with placed(side.lengths):
                values.append(numbers(side.values.fill_null("1"), pa.float64(), where))
        (query, document), count = codes_of(sides[0].keys, sides[1].keys)
        i, j = pairs(sides[0].owners * count + query, sides[1].owners * count + document)
        rows = len(inputs[0])
        product = np.bincount(sides[0].owners[i], values[0][i] * values[1][j], minlength=rows)
        present = (sides[0].lengths > 0) & (sides[1].lengths > 0)
        return Rows(pa.array(product[present]), present.astype(np.int32))


@dataclass(frozen=True)
class Terms:
    """The terms of queries and titles as numbers, row after row.

    Attributes:
        query, title: int64 codes that are equal where the terms are.
        query_lengths, title_lengths: int32 [N].
        pair: (i, j), every place i of a query with every place j of its title that has its term.
    """

    query: np.ndarray
    title: np.ndarray
    query_lengths: np.ndarray
    title_lengths: np.ndarray
    pair: tuple[np.ndarray, np.ndarray]

    @property
    def query_owners(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.query_lengths)), self.query_lengths)

    @property
    def title_owners(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.title_lengths)), self.title_lengths)

    @property
    def title_places(self) -> np.ndarray:
        """The place of each title term in its row."""
        starts = np.cumsum(self.title_lengths) - self.title_lengths
        return np.arange(len(self.title)) - np.repeat(starts, self.title_lengths)


def _shared_of_query(terms: Terms) -> np.ndarray:
    met = np.unique(terms.pair[0])
    shared = np.bincount(terms.query_owners[met], minlength=len(terms.query_lengths))
    return shared / terms.query_lengths


def _shared_of_title(terms: Terms) -> np.ndarray:
    met = np.unique(terms.pair[1])
    shared = np.bincount(terms.title_owners[met], minlength=len(terms.title_lengths))
    return shared / terms.title_lengths


def _index_of(terms: Terms) -> np.ndarray:
    """Where the query stands in the title as a whole, -1 where it does not: the first such place."""
    begins = np.cumsum(terms.query_lengths) - terms.query_lengths
    title_ends = np.cumsum(terms.title_lengths)
    i, j = terms.pair
    owners = terms.query_owners
    candidates = j[i == begins[owners[i]]] if len(i) else j
    rows = terms.title_owners[candidates]
    fits = candidates + terms.query_lengths[rows] <= title_ends[rows]
    candidates, rows = candidates[fits], rows[fits]
    # As many rounds as the longest query has terms; each takes the next term of all candidates.
    for step in range(1, int(terms.query_lengths.max(initial=0))):
        longer = terms.query_lengths[rows] > step
        same = np.ones(len(rows), bool)
        at = candidates[longer] + step
        same[longer] = terms.title[at] == terms.query[begins[rows[longer]] + step]
        candidates, rows = candidates[same], rows[same]
    found = np.full(len(terms.query_lengths), np.iinfo(np.int64).max)
    np.minimum.at(found, rows, terms.title_places[candidates])
    return np.where(found == np.iinfo(np.int64).max, -1, found).astype(np.float64)


def _is_contain(terms: Terms) -> np.ndarray:
    return (_index_of(terms) >= 0).astype(np.float64)


def _is_equal(terms: Terms) -> np.ndarray:
    return _is_contain(terms) * (terms.query_lengths == terms.title_lengths)


def _min_cover(terms: Terms) -> np.ndarray:
    """The length of the shortest window of the title with all terms of the query; 0 when one is missing."""
    rows, size = len(terms.query_lengths), len(terms.title)
    distinct = _distinct(terms)
    wanted = np.bincount(terms.query_owners[distinct], minlength=rows)
    # One entry for every distinct term of a query with every place of its title, place after place.
    count = wanted[terms.title_owners]
    end = np.repeat(np.arange(size), count)
    number = np.arange(len(end)) - np.repeat(np.cumsum(count) - count, count)
    term = distinct[(np.cumsum(wanted) - wanted)[terms.title_owners[end]] + number]
    # The last place up to here that has the term: a running maximum within each term, which
    # is kept apart from the next by adding more than any place for each.
    order = np.lexsort((end, term))
    group = np.cumsum(np.diff(term[order], prepend=-1) != 0)
    hit = np.where(terms.title[end[order]] == terms.query[term[order]], end[order] + 1, 0)
    last = np.empty(len(end), np.int64)
    last[order] = np.maximum.accumulate(group * (size + 1) + hit) - group * (size + 1) - 1
    windows = np.flatnonzero(np.diff(end, prepend=-1) != 0)
    begin = np.minimum.reduceat(last, windows) if len(end) else last
    owner = terms.title_owners[end[windows]]
    whole = begin >= 0
    best = np.full(rows, np.inf)
    np.minimum.at(best, owner[whole], (end[windows] - begin + 1)[whole])
    return np.where(np.isfinite(best), best, 0.0)


def _distinct(terms: Terms) -> np.ndarray:
    """Places of the first of every distinct term of each query, in order."""
    keys = np.stack([terms.query_owners, terms.query], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    return np.sort(first)


def _distances(ufunc: np.ufunc | None) -> Callable[[Terms], np.ndarray]:
    def distance(terms: Terms) -> np.ndarray:
        # Places of the title that have a term of the query, each once.
        places = np.unique(terms.pair[1])
        owners = terms.title_owners[places]
        i, j = pairs(owners, owners)
        different = (i < j) & (terms.title[places[i]] != terms.title[places[j]])
        i, j = i[different], j[different]
        gaps = (places[j] - places[i]).astype(np.float64)
        rows = owners[i]
        out = terms.title_lengths + 1.0
        counts = np.bincount(rows, minlength=len(out))
        found = counts > 0
        if ufunc is None:
            out[found] = (np.bincount(rows, gaps, minlength=len(out))[found]) / counts[found]
        elif len(rows):
            starts = np.flatnonzero(np.concatenate([[True], np.diff(rows) != 0]))
            out[rows[starts]] = ufunc.reduceat(gaps, starts)
        return out

    return distance


# Terms of N rows, none of them empty on a side -> float64 [N].
METHODS: dict[str, Callable[[Terms], np.ndarray]] = {
    "query_common_ratio": _shared_of_query,
    "title_common_ratio": _shared_of_title,
    "is_contain": _is_contain,
    "is_equal": _is_equal,
    "index_of": _index_of,
    "proximity_min_cover": _min_cover,
    "proximity_min_dist": _distances(np.minimum),
    "proximity_max_dist": _distances(np.maximum),
    "proximity_avg_dist": _distances(None),
}


@dataclass(frozen=True)
class Overlap:
    """How the terms of a query stand in a title. A row where one of them is missing has no value.

    Attributes:
        separator: between terms in one text.
        method: a name of METHODS.
    """

    separator: str
    method: str

    def __call__(self, inputs: Sequence[pa.Array], where: str) -> Rows:
        query, title = (rows_of(column, self.separator, where) for column in inputs)
        present = (query.lengths > 0) & (title.lengths > 0)
        query, title = query.keep(present[query.owners]), title.keep(present[title.owners])
        query_lengths, title_lengths = query.lengths[present], title.lengths[present]
        (q, t), count = codes_of(query.flat, title.flat)
        owners = [np.repeat(np.arange(len(each)), each) for each in (query_lengths, title_lengths)]
        pair = pairs(owners[0] * count + q, owners[1] * count + t)
        made = METHODS[self.method](Terms(q, t, query_lengths, title_lengths, pair))
        return Rows(pa.array(np.asarray(made, np.float64)), present.astype(np.int32))
