"""Ids as 64-bit keys: integers as they are, texts as FarmHash fingerprints."""

import numpy as np
import pyarrow as pa

from tzrec.features.fingerprint import fingerprint64
from tzrec.runtime.errors import UserError


def keys_of(ids: pa.Array, text_ids: bool) -> np.ndarray:
    """The key of each id, int64 [len(ids)]; there are no nulls."""
    if text_ids:
        return fingerprint64(ids.cast(pa.large_string())).view(np.int64)
    return ids.cast(pa.int64()).to_numpy()


def keys_of_each(ids: pa.Array, text_ids: bool) -> tuple[np.ndarray, np.ndarray]:
    """The key of each id that is no null.

    Args:
        ids: integers or texts; texts may spell integers.
        text_ids: whether the table that they belong to has text ids.

    Returns:
        (int64 [K] keys, int64 [K] their places among the ids, ascending).

    Raises:
        UserError: texts that are no integers where the table has integer ids.
    """
    if pa.types.is_dictionary(ids.type):
        ids = ids.dictionary_decode()
    places = np.arange(len(ids))
    if ids.null_count:
        places = np.flatnonzero(ids.is_valid().to_numpy(zero_copy_only=False))
        ids = ids.drop_null()
    try:
        return keys_of(ids, text_ids), places
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UserError(
            f"the negative table has integer ids, those of the training table are {ids.type}; "
            'write the header of the negative table as "id:string"'
        ) from None
