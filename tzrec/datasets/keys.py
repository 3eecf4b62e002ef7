"""Ids as 64-bit keys: integers as they are, texts as FarmHash fingerprints."""

import numpy as np
import pyarrow as pa

from tzrec.features.fingerprint import fingerprint64
from tzrec.features.values import BadValueError, beyond_int64, filled, is_text, numbers, text_of
from tzrec.runtime.errors import UserError


def keys_of(ids: pa.Array, text_ids: bool) -> np.ndarray:
    """The key of each id, int64 [len(ids)]; there are no nulls."""
    if text_ids:
        return fingerprint64(text_of(ids).cast(pa.large_string())).view(np.int64)
    return ids.cast(pa.int64()).to_numpy()


def keys_of_each(ids: pa.Array, text_ids: bool) -> tuple[np.ndarray, np.ndarray]:
    """The key of each id that is one: neither null nor empty, NaN or beyond int64.

    Args:
        ids: numbers or texts; texts may spell integers, as features read them.
        text_ids: whether the table that they belong to has text ids.

    Returns:
        (int64 [K] keys, int64 [K] their places among the ids, ascending).

    Raises:
        UserError: texts that are no integers where the table has integer ids.
    """
    if pa.types.is_dictionary(ids.type):
        ids = ids.dictionary_decode()
    there = filled(ids)
    if pa.types.is_floating(ids.type):
        there &= np.isfinite(ids.fill_null(0).to_numpy(zero_copy_only=False))
    if not text_ids:
        there[there] = ~beyond_int64(ids.filter(pa.array(there)))
    places = np.flatnonzero(there)
    if len(places) < len(ids):
        ids = ids.filter(pa.array(there))
    try:
        if not text_ids and is_text(ids.type):
            return numbers(ids, pa.int64(), "the id"), places
        return keys_of(ids, text_ids), places
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, BadValueError):
        raise UserError(
            f"the negative table has integer ids, those of the training table are {ids.type}; "
            'write the header of the negative table as "id:string"'
        ) from None
