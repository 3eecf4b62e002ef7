"""From values to the rows of an embedding table. Every bucketizer is a plain function of arrays.

An id of -1 means that the value has no bucket: it counts as missing.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.features.fingerprint import fingerprint64
from tzrec.features.values import numbers, text_of

# flat Arrow values [V], what to call them in an error -> int64 ids [V]
Bucketizer = Callable[[pa.Array, str], np.ndarray]


def by_number(buckets: int) -> Bucketizer:
    """Integers in [0, buckets) as they are; any other has no bucket."""

    def bucketize(flat: pa.Array, where: str) -> np.ndarray:
        ids = numbers(flat, pa.int64(), where)
        # The ends alone need no array of their own, and nearly always nothing lies outside.
        if not len(ids) or (ids.min() >= 0 and ids.max() < buckets):
            return ids
        return np.where((ids < 0) | (ids >= buckets), -1, ids)

    return bucketize


def by_integer_part(buckets: int) -> Bucketizer:
    """Numbers cut to their integer part (1.5 to 1, -0.5 to 0), then as `by_number`."""
    whole = by_number(buckets)

    def bucketize(flat: pa.Array, where: str) -> np.ndarray:
        if not pa.types.is_integer(flat.type):
            flat = pa.array(np.trunc(numbers(flat, pa.float64(), where)))
        return whole(flat, where)

    return bucketize


def _where_finite(flat: pa.Array, ids: np.ndarray) -> np.ndarray:
    """The ids of values; a float that is not finite has none, for "nan" and "inf" are no words."""
    if not pa.types.is_floating(flat.type):
        return ids
    finite = np.isfinite(flat.to_numpy(zero_copy_only=False))
    return ids if finite.all() else np.where(finite, ids, -1)


def by_hash(buckets: int) -> Bucketizer:
    """FarmHash Fingerprint64 of the text, modulo `buckets`, as other frameworks of the field do."""

    def bucketize(flat: pa.Array, where: str) -> np.ndarray:
        return _where_finite(flat, (fingerprint64(text_of(flat)) % np.uint64(buckets)).astype(np.int64))

    return bucketize


def by_vocabulary(words: Sequence[str], first: int, unknown: int) -> Bucketizer:
    """The place of the text in `words`, counted from `first`; `unknown` for any other text."""
    vocabulary = pa.array(words, pa.string())

    def bucketize(flat: pa.Array, where: str) -> np.ndarray:
        found = pc.index_in(text_of(flat).cast(pa.string()), vocabulary)
        ids = pc.add(pc.cast(found, pa.int64()), first)
        return _where_finite(flat, pc.fill_null(ids, unknown).to_numpy(zero_copy_only=False))

    return bucketize


def by_dictionary(ids: Mapping[str, int], unknown: int) -> Bucketizer:
    """The id that `ids` gives the text; `unknown` for any other text."""
    words = pa.array(list(ids), pa.string())
    numbered = np.array([*ids.values(), unknown], np.int64)

    def bucketize(flat: pa.Array, where: str) -> np.ndarray:
        found = pc.index_in(text_of(flat).cast(pa.string()), words)
        return _where_finite(flat, numbered[pc.fill_null(found, len(ids)).to_numpy(zero_copy_only=False)])

    return bucketize


def by_boundaries(boundaries: Sequence[float]) -> Bucketizer:
    """The interval of the number: [1, 2, 3] sends 0.5 to 0, 1 to 1, 1.5 to 1 and 9 to 3.

    Numbers are compared in float32, as the boundaries stand in the configuration, so that
    a value equal to a boundary belongs to the interval above it. What is not finite has no interval.
    """
    edges = np.asarray(boundaries, np.float32)

    def bucketize(flat: pa.Array, where: str) -> np.ndarray:
        values = numbers(flat, pa.float32(), where)
        ids = np.searchsorted(edges, values, side="right").astype(np.int64)
        finite = np.isfinite(values)
        return ids if finite.all() else np.where(finite, ids, -1)

    return bucketize
