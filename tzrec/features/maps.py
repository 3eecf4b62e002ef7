"""Maps and nested maps as columns: their entries, a join of keys, and the features that look values up.

A map is text such as `k1:v1\\x1dk2:v2` or an Arrow map. A nested map is text such as
`pk1^sk1:0.2,sk2:0.3|pk2^sk4:0.1`, or a map whose values are `sk1:0.2,sk2:0.3`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.features.combine import combine
from tzrec.features.values import BadValueError, Rows, count_kept, is_list, numbers, placed, rows_of, text_of
from tzrec.runtime.errors import UserError


@dataclass(frozen=True)
class Entries:
    """Entries of maps, row after row.

    Attributes:
        keys: text [E], no nulls.
        values: text [E], null where an entry has a key only.
        lengths: int32 [N], entries a row, summing to E.
    """

    keys: pa.Array
    values: pa.Array
    lengths: np.ndarray

    @property
    def owners(self) -> np.ndarray:
        """int64 [E], the row of each entry."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def keyed(self) -> "Entries":
        """Those with a key: ":2" has none."""
        kept = pc.not_equal(self.keys, "")
        if pc.all(kept).as_py() is not False:
            return self
        lengths = count_kept(kept.to_numpy(zero_copy_only=False), self.lengths)
        return Entries(self.keys.filter(kept), self.values.filter(kept), lengths)


def entries_of(column: pa.Array, separator: str, delimiter: str, where: str) -> Entries:
    """The entries of a column of maps; a null row has none.

    Args:
        column: Arrow maps, text of entries, or lists of entries.
        separator: between entries in one text.
        delimiter: between key and value; an entry without it is a key.
        where: what to call the column in an error.

    Raises:
        UserError: a column of another type.
    """
    if pa.types.is_map(column.type):
        if column.null_count:
            # A null row of a map may still own entries.
            column = pc.if_else(column.is_valid(), column, pa.scalar([], column.type))
        offsets = column.offsets.to_numpy()
        keys, values = column.keys[offsets[0] : offsets[-1]], column.items[offsets[0] : offsets[-1]]
        if pa.types.is_nested(values.type):
            raise UserError(
                f"{where}: a column of type {column.type}; the values of a map are text or numbers"
            )
        return Entries(_text(keys), _text(values), np.diff(offsets).astype(np.int32))
    rows = rows_of(column, separator, where)
    keys, values = split_pairs(_text(rows.flat), delimiter)
    return Entries(keys, values, rows.lengths)


def _text(array: pa.Array) -> pa.Array:
    return text_of(array).cast(pa.string())


def _refuse_numbers(column: pa.Array, where: str) -> None:
    """A number is no entry: every key would find nothing, in silence. A column of nulls says nothing."""
    kind = column.type.value_type if is_list(column.type) else column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)) or column.null_count == len(column):
        return
    place = int(np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))[0])
    raise BadValueError(
        f'{where}: a map column of type {column.type}; give Arrow maps, or entries of text such as "k1:0.5"',
        place,
    )


def split_pairs(texts: pa.Array, delimiter: str) -> tuple[pa.Array, pa.Array]:
    """Each text cut at the first delimiter: (what is before, what is behind or null)."""
    parts = pc.split_pattern(texts, delimiter, max_splits=1)
    counts = pc.list_value_length(parts).to_numpy(zero_copy_only=False).astype(np.int64)
    starts = np.cumsum(counts) - counts
    flat = parts.flatten()
    behind = pa.array(starts + 1, mask=counts < 2)
    return flat.take(pa.array(starts)), flat.take(behind)


def codes_of(*texts: pa.Array) -> tuple[list[np.ndarray], int]:
    """Numbers that are equal where the texts are: (int64 [V] for each array, how many numbers)."""
    coded = pa.concat_arrays([_text(each) for each in texts]).dictionary_encode()
    numbered = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return np.split(numbered, np.cumsum([len(each) for each in texts])[:-1]), len(coded.dictionary)


def pairs(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All (i, j) with left[i] == right[j], in the order of i and then of j."""
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    low, high = np.searchsorted(ordered, left, "left"), np.searchsorted(ordered, left, "right")
    counts = high - low
    i = np.repeat(np.arange(len(left)), counts)
    within = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    return i, order[np.repeat(low, counts) + within]


@dataclass(frozen=True)
class Lookup:
    """The value that a map has for each key.

    Of an entry that stands twice the first counts. A key that the map lacks gives nothing.

    Attributes:
        separator: between entries of a map, and between keys.
        discrete: give the values as text; else as numbers, combined over the keys of a row.
        with_key: the text is `key_value`.
        combiner: of numbers; see `combine`.
        width: numbers in one value.
        value_separator: between them.
    """

    separator: str
    discrete: bool
    with_key: bool
    combiner: str
    width: int
    value_separator: str

    def __call__(self, inputs: Sequence[pa.Array], where: str) -> Rows:
        _refuse_numbers(inputs[0], where)
        entries = entries_of(inputs[0], self.separator, ":", where)
        keys = rows_of(inputs[1], self.separator, where)
        (wanted, known), count = codes_of(keys.flat, entries.keys)
        i, j = pairs(keys.owners * count + wanted, entries.owners * count + known)
        first = np.concatenate([[True], i[1:] != i[:-1]]) if len(i) else np.zeros(0, bool)
        i, j = i[first], j[first]
        values = entries.values.take(pa.array(j))
        filled = pc.fill_null(pc.not_equal(values, ""), False).to_numpy(zero_copy_only=False)
        i, values = i[filled], values.filter(pa.array(filled))
        owners = keys.owners[i]
        lengths = np.bincount(owners, minlength=len(keys.lengths)).astype(np.int32)
        if self.discrete:
            if self.with_key:
                values = pc.binary_join_element_wise(_text(keys.flat).take(pa.array(i)), values, "_")
            return Rows(values, lengths)
        return combine(self._numbers(values, lengths, where), lengths, self.combiner, self.width)

    def _numbers(self, values: pa.Array, lengths: np.ndarray, where: str) -> np.ndarray:
        parts = rows_of(values, self.value_separator, where)
        with placed(lengths):
            wrong = np.flatnonzero(parts.lengths != self.width)
            if len(wrong):
                place = int(wrong[0])
                raise BadValueError(
                    f'{where}: "{values[place].as_py()}" has {parts.lengths[place]} numbers, '
                    f"value_dim says {self.width}",
                    place,
                )
            with placed(parts.lengths):
                return numbers(parts.flat, pa.float64(), where)


@dataclass(frozen=True)
class Match:
    """The value of a nested map at a first and a second key.

    Attributes:
        separator: between several keys in one text.
        any_first, any_second: that key is ALL: every entry there counts.
        show_first, show_second: the text begins with that key, `first_second_value`.
        discrete: give the values as text; else as numbers, summed over a row.
    """

    separator: str
    any_first: bool
    any_second: bool
    show_first: bool
    show_second: bool
    discrete: bool

    def __call__(self, inputs: Sequence[pa.Array], where: str) -> Rows:
        owners, first, second, values = nested_entries(inputs[0], where)
        # Rows of the answer are (row, place of the first key, place of the second key).
        chosen = np.arange(len(owners))
        if not self.any_first:
            chosen = self._at(rows_of(inputs[1], self.separator, where), owners, first, chosen)
        if not self.any_second:
            chosen = self._at(rows_of(inputs[2], self.separator, where), owners, second, chosen)
        chosen = chosen[np.argsort(owners[chosen], kind="stable")]
        lengths = np.bincount(owners[chosen], minlength=len(inputs[0])).astype(np.int32)
        place = pa.array(chosen)
        texts = values.take(place)
        if not self.discrete:
            with placed(lengths):
                return combine(numbers(texts, pa.float64(), where), lengths, "sum")
        shown = [
            keys.take(place) for keys, show in ((first, self.show_first), (second, self.show_second)) if show
        ]
        return Rows(pc.binary_join_element_wise(*shown, texts, "_") if shown else texts, lengths)

    @staticmethod
    def _at(keys: Rows, owners: np.ndarray, known: pa.Array, chosen: np.ndarray) -> np.ndarray:
        """Of the chosen entries those whose key a row asks for, in the order asked."""
        (wanted, having), count = codes_of(keys.flat, known)
        _, j = pairs(keys.owners * count + wanted, owners[chosen] * count + having[chosen])
        return chosen[j]


def nested_entries(column: pa.Array, where: str) -> tuple[np.ndarray, pa.Array, pa.Array, pa.Array]:
    """A column of nested maps, entry after entry: (int64 row, first key, second key, value), [E] each."""
    outer = entries_of(column, "|", "^", where)
    inner = entries_of(outer.values, ",", ":", where)
    owners = outer.owners[inner.owners]
    first = outer.keys.take(pa.array(inner.owners))
    valued = pc.fill_null(pc.not_equal(inner.values, ""), False)
    return (
        owners[valued.to_numpy(zero_copy_only=False)],
        first.filter(valued),
        inner.keys.filter(valued),
        inner.values.filter(valued),
    )
