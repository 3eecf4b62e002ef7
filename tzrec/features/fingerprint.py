"""FarmHash Fingerprint64 of many texts at once.

The function is that of the published FarmHash (Geoff Pike, Google): one formula for each class of
lengths, 64-bit arithmetic that wraps. Texts of one class are computed together as arrays of NumPy;
the rare ones above 64 bytes go to the farmhash package one by one.
"""

import farmhash
import numpy as np
import pyarrow as pa

K0 = np.uint64(0xC3A5C85C97CB3127)
K1 = np.uint64(0xB492B66FBE98F273)
K2 = np.uint64(0x9AE16A3B2F90404F)
LONGEST = 64  # bytes that the formulas here cover
CHUNK = 1 << 16  # texts at a time: what a formula needs between stays in the processor's cache


def fingerprint64(texts: pa.Array) -> np.ndarray:
    """FarmHash Fingerprint64 of the UTF-8 bytes of every text, uint64 [V].

    Args:
        texts: string or large_string [V], without nulls.
    """
    texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64, len(texts) + 1, texts.offset * 8)
    # Eight spare bytes let a load of eight begin at the last byte.
    low, high = int(ends[0]), int(ends[-1])
    content = np.zeros(high - low + 8, np.uint8)
    if high > low:
        content[:-8] = np.frombuffer(data, np.uint8, high - low, low)
    hashed = np.empty(len(texts), np.uint64)
    for start in range(0, len(texts), CHUNK):
        bounds = ends[start : start + CHUNK + 1] - low
        hashed[start : start + CHUNK] = _hash(content, bounds[:-1], np.diff(bounds))
    return hashed


def _hash(content: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    hashed = np.full(len(starts), K2)
    classes = [(1, 3, _to_3), (4, 7, _to_7), (8, 16, _to_16), (17, 32, _to_32), (33, LONGEST, _to_64)]
    for shortest, longest, formula in classes:
        chosen = np.flatnonzero((lengths >= shortest) & (lengths <= longest))
        if len(chosen):
            hashed[chosen] = formula(_Loads(content, starts[chosen], lengths[chosen]))
    for place in np.flatnonzero(lengths > LONGEST).tolist():
        start = int(starts[place])
        hashed[place] = farmhash.Fingerprint64(content[start : start + int(lengths[place])].tobytes())
    return hashed


class _Loads:
    """Little-endian loads from texts of one class, counted from the start or, below 0, from the end."""

    def __init__(self, content: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> None:
        self.content, self.starts, self.lengths = content, starts, lengths
        self.size = lengths.astype(np.uint64)
        self.factor = K2 + self.size * np.uint64(2)

    def at(self, place: int, width: int = 8) -> np.ndarray:
        starts = self.starts + place if place >= 0 else self.starts + self.lengths + place
        return self.load(starts, width)

    def load(self, starts: np.ndarray, width: int) -> np.ndarray:
        # A window of `width` bytes at every byte: an array of unaligned integers.
        windows = np.ndarray((len(self.content) - width + 1,), f"<u{width}", self.content, strides=(1,))
        return windows[starts].astype(np.uint64)


def _rotate(value: np.ndarray, by: int) -> np.ndarray:
    return (value >> np.uint64(by)) | (value << np.uint64(64 - by))


def _fold(value: np.ndarray) -> np.ndarray:
    return value ^ (value >> np.uint64(47))


def _mix(u: np.ndarray, v: np.ndarray, factor: np.ndarray) -> np.ndarray:
    return _fold((_fold((u ^ v) * factor) ^ v) * factor) * factor


def _to_3(text: _Loads) -> np.ndarray:
    first, last = text.at(0, 1), text.at(-1, 1)
    middle = text.load(text.starts + text.lengths // 2, 1)
    y = first + (middle << np.uint64(8))
    z = text.size + (last << np.uint64(2))
    return _fold(y * K2 ^ z * K0) * K2


def _to_7(text: _Loads) -> np.ndarray:
    return _mix(text.size + (text.at(0, 4) << np.uint64(3)), text.at(-4, 4), text.factor)


def _to_16(text: _Loads) -> np.ndarray:
    a, b = text.at(0) + K2, text.at(-8)
    c = _rotate(b, 37) * text.factor + a
    d = (_rotate(a, 25) + b) * text.factor
    return _mix(c, d, text.factor)


def _ends(text: _Loads, first: np.uint64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the two longer formulas make of the first and last 16 bytes."""
    a, b = text.at(0) * first, text.at(8)
    c, d = text.at(-8) * text.factor, text.at(-16) * K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    return a, y, _mix(y, a + _rotate(b + K2, 18) + c, text.factor)


def _to_32(text: _Loads) -> np.ndarray:
    return _ends(text, K1)[2]


def _to_64(text: _Loads) -> np.ndarray:
    a, y, z = _ends(text, K2)
    e, f = text.at(16) * text.factor, text.at(24)
    g = (y + text.at(-32)) * text.factor
    h = (z + text.at(-24)) * text.factor
    return _mix(_rotate(e + f, 43) + _rotate(g, 30) + h, e + _rotate(f + a, 18) + g, text.factor)
