"""tokenize_feature, with small models that are trained here."""

from pathlib import Path

import pytest

from tests.every_feature import write_tokenizer
from tests.features.support import build, compute
from tzrec.features.text import NORMALIZERS, TextNormalizer
from tzrec.protos.feature_pb2 import TextNormalizeOption
from tzrec.runtime.errors import UserError

FIXED = 'tokenize_feature { feature_name: "f" expression: "user:c" embedding_dim: 4 vocab_file: "%s" %s }'


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("t") / "tokenizer.json")


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import sentencepiece

    folder = tmp_path_factory.mktemp("s")
    (folder / "text").write_text("red shoe green hat\nblue sock old red new\n" * 30)
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"), model_prefix=str(folder / "m"), vocab_size=22, minloglevel=2
    )
    return folder / "m.model"


def test_bpe_is_what_the_library_gives(bpe: Path) -> None:
    from tokenizers import Tokenizer

    library = Tokenizer.from_file(str(bpe))
    texts = ["red shoe", "", None, "hat hat", "red shoe"]
    expected = [library.encode(text or "").ids for text in texts]
    assert expected[0] == expected[4] != expected[3]
    assert compute(FIXED % (bpe, ""), {"c": texts}) == expected
    table = build(FIXED % (bpe, ""))["f"].table
    assert table.rows == library.get_vocab_size()
    default = compute(FIXED % (bpe, 'default_value: "hat"'), {"c": [None]})
    assert default == [library.encode("hat").ids]


def test_sentencepiece_is_what_the_library_gives(pieces: Path) -> None:
    import sentencepiece

    library = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    texts = ["red shoe", "old hat", None]
    got = compute(FIXED % (pieces, 'tokenizer_type: "sentencepiece"'), {"c": texts})
    assert got == [library.encode(text or "") for text in texts]


def test_tokens_as_a_sequence(bpe: Path) -> None:
    whole = compute(FIXED % (bpe, ""), {"c": ["red shoe hat", None]})
    text = FIXED % (bpe, "tokens_as_sequence: true sequence_length: 2")
    # A sequence without elements is that of its default, and of none the text 0.
    unset = compute(FIXED % (bpe, ""), {"c": ["0"]})
    assert compute(text, {"c": ["red shoe hat", None]}) == [[[token] for token in whole[0][:2]], unset]
    text = FIXED % (bpe, 'tokens_as_sequence: true default_value: "hat"')
    assert compute(text, {"c": ["", "red hat"]})[0] == compute(FIXED % (bpe, ""), {"c": ["hat"]})


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("not a model")
    for kind in ("bpe", "sentencepiece"):
        with pytest.raises(UserError, match=rf'feature "f": vocab_file .*a is no {kind} model'):
            build(FIXED % (tmp_path / "a", f'tokenizer_type: "{kind}"'))
        with pytest.raises(UserError, match=f"none is no {kind} model"):
            build(FIXED % (tmp_path / "none", f'tokenizer_type: "{kind}"'))


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        ("TEXT_LOWER2UPPER", "Red é", "RED É"),
        ("TEXT_UPPER2LOWER", "Red É", "red é"),
        ("TEXT_SBC2DBC", "ＡＢ１，\u3000x", "AB1, x"),
        ("TEXT_CHT2CHS", "漢語 red", "汉语 red"),
        ("TEXT_FILTER", "red_(shoe)! 汉", "redshoe 汉"),
        ("TEXT_SPLITCHRS", "红色shoe", "红 色 shoe"),
        ("TEXT_REMOVE_SPACE", " red  shoe\t", "redshoe"),
    ],
)
def test_text_normalizers(option: str, text: str, expected: str) -> None:
    assert TextNormalizer((option,))([text, "", text]) == [expected, "", expected]


def test_no_option_is_left_out() -> None:
    assert set(NORMALIZERS) == set(TextNormalizeOption.keys())


def test_options_follow_one_another_and_long_texts_stay() -> None:
    both = TextNormalizer(("TEXT_SBC2DBC", "TEXT_UPPER2LOWER"), stop="d", longest=4)
    assert both(["ＲＥＤ", "LONGER", "a\x00D"]) == ["re", "LONGER", "a"]


def test_a_stop_character_file(tmp_path: Path, bpe: Path) -> None:
    (tmp_path / "stop").write_text("!\n?\n")
    options = f'text_normalizer {{ stop_char_file: "{tmp_path}/stop" norm_options: TEXT_UPPER2LOWER }}'
    text = FIXED % (bpe, options)
    assert compute(text, {"c": ["RED!?"]}) == compute(FIXED % (bpe, ""), {"c": ["red"]})
    with pytest.raises(UserError, match=r"stop_char_file .*nothing: No such file"):
        build(text.replace("/stop", "/nothing"))
