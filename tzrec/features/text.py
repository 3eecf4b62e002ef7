"""tokenize_feature: text to the ids of its tokens."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.features.values import Rows, text_of
from tzrec.runtime.errors import UserError

# Texts -> (token ids of all, int32 number of tokens of each).
Tokenizer = Callable[[list[str]], tuple[np.ndarray, np.ndarray]]

# Stands between texts that are normalized in one go; no text may hold it.
_BETWEEN = "\x00"
_HALF_WIDTH = {0x3000: 0x20, **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}}
_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"


@cache
def _simplifier() -> Callable[[str], str]:
    import opencc  # Only configurations with TEXT_CHT2CHS pay for the import.

    return opencc.OpenCC("t2s").convert


# Option -> what it does to many texts that stand in one, with _BETWEEN between them.
NORMALIZERS: dict[str, Callable[[str], str]] = {
    "TEXT_LOWER2UPPER": str.upper,
    "TEXT_UPPER2LOWER": str.lower,
    "TEXT_SBC2DBC": lambda text: text.translate(_HALF_WIDTH),
    "TEXT_CHT2CHS": lambda text: _simplifier()(text),
    "TEXT_FILTER": lambda text: re.sub(rf"[^\w\s{_BETWEEN}]|_", "", text),
    "TEXT_SPLITCHRS": lambda text: re.sub(
        rf"(?<=[{_CHINESE}])(?=[^\s{_BETWEEN}])|(?<=[^\s{_BETWEEN}])(?=[{_CHINESE}])", " ", text
    ),
    "TEXT_REMOVE_SPACE": lambda text: re.sub(r"\s+", "", text),
}


@dataclass(frozen=True)
class TextNormalizer:
    """Cleans text before it is cut into tokens.

    Attributes:
        options: names of NORMALIZERS, applied in this order.
        stop: characters that are left out, after the options.
        longest: a text of more characters is left as it is; 0 for no limit.
    """

    options: tuple[str, ...] = ()
    stop: str = ""
    longest: int = 0

    def __call__(self, texts: list[str]) -> list[str]:
        if not texts or not (self.options or self.stop):
            return texts
        # One text of all: the loops are those of the library, not of Python.
        joined = _BETWEEN.join(texts)
        if joined.count(_BETWEEN) != len(texts) - 1:
            texts = [text.replace(_BETWEEN, "") for text in texts]
            joined = _BETWEEN.join(texts)
        for option in self.options:
            joined = NORMALIZERS[option](joined)
        if self.stop:
            joined = joined.translate(dict.fromkeys(map(ord, self.stop)))
        made = joined.split(_BETWEEN)
        if self.longest:
            made = [old if len(old) > self.longest else new for old, new in zip(texts, made, strict=True)]
        return made


@dataclass(frozen=True)
class Tokenize:
    """The token ids of a text. A null or an empty text has none.

    Attributes:
        tokenizer: from texts to ids; a text that occurs often is cut once.
        normalizer: what happens to the text before.
    """

    tokenizer: Tokenizer
    normalizer: TextNormalizer

    def __call__(self, inputs: Sequence[pa.Array], where: str) -> Rows:
        column = inputs[0]
        if pa.types.is_nested(column.type):
            raise UserError(f"{where}: a column of type {column.type} is no text")
        texts = text_of(column)
        coded = pc.fill_null(texts, "").dictionary_encode()
        ids, counts = self.tokenizer(self.normalizer(coded.dictionary.to_pylist()))
        which = coded.indices.to_numpy(zero_copy_only=False)
        lengths = counts[which]
        starts = (np.cumsum(counts) - counts)[which]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return Rows(pa.array(ids[np.repeat(starts, lengths) + within]), lengths.astype(np.int32))


def open_tokenizer(kind: str, path: str, feature: str) -> tuple[Tokenizer, int]:
    """(the tokenizer of a file, how many ids it has).

    Args:
        kind: "bpe", a tokenizer.json of Hugging Face, or "sentencepiece".
        path: of the file.
        feature: for errors.

    Raises:
        UserError: a file that is not there or is no such model.
    """
    try:
        return _OPEN[kind](path)
    except Exception as error:  # The libraries raise bare Exception and RuntimeError.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f'feature "{feature}": vocab_file {path} is no {kind} model ({reason})') from None


def _flattened(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    counts = np.fromiter(map(len, lists), np.int64, len(lists))
    return np.concatenate([np.asarray(each, np.int64) for each in lists] or [np.zeros(0, np.int64)]), counts


def _open_bpe(path: str) -> tuple[Tokenizer, int]:
    from tokenizers import Tokenizer as HuggingFace

    model = HuggingFace.from_file(path)
    return (
        lambda texts: _flattened([each.ids for each in model.encode_batch(texts, add_special_tokens=False)]),
        model.get_vocab_size(),
    )


def _open_sentencepiece(path: str) -> tuple[Tokenizer, int]:
    from sentencepiece import SentencePieceProcessor

    with open(path, "rb"):  # A missing file is a plain error here, and lines on stderr there.
        pass
    model = SentencePieceProcessor(model_file=path)
    return lambda texts: _flattened(model.encode(texts, out_type=int)), model.get_piece_size()


_OPEN = {"bpe": _open_bpe, "sentencepiece": _open_sentencepiece}
