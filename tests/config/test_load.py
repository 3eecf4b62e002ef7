"""Reading: what is right is read as protobuf reads it, what is wrong is said in its place, all at once."""

# ruff: noqa: E501 (tables of inputs and messages)

import json
import random
from pathlib import Path

import pytest
from google.protobuf import json_format, text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.config.conftest import GOOD
from tzrec.config import load_pipeline, to_text
from tzrec.config.scalars import _RANGES
from tzrec.protos.pipeline_pb2 import EasyRecConfig
from tzrec.runtime.errors import UserError

EXAMPLES = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def refused(text, name="a.config"):
    Path(name).write_text(text)
    with pytest.raises(UserError) as error:
        load_pipeline(name)
    return str(error.value)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def load(text, name="a.config"):
    Path(name).write_text(text)
    return load_pipeline(name).message


def canon(message):
    """NaN is not equal to itself; its bytes are."""
    return message.SerializePartialToString(deterministic=True)


class Messages:
    """Random messages: any field of the schema, with values that are hard to write."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def fill(self, message, depth=0):
        fields = list(message.DESCRIPTOR.fields)
        for field in self.random.sample(fields, min(len(fields), 3 if depth else 6)):
            is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
            value = getattr(message, field.name)
            if is_map:
                for _ in range(self.random.randrange(3)):
                    value[self.text()] = self.random.randrange(1000)
            elif field.is_repeated:
                for _ in range(self.random.randrange(3)):
                    if field.message_type is None:
                        value.append(self.scalar(field))
                    else:
                        self.fill(value.add(), depth + 1)
            elif field.message_type is None:
                setattr(message, field.name, self.scalar(field))
            else:
                value.SetInParent()
                self.fill(value, depth + 1)
        return message

    def text(self):
        return "".join(self.random.choices("ab\x1d\x03\x02\n\t\"'\\:;中é😀{}#", k=self.random.randrange(6)))

    def scalar(self, field):
        if field.cpp_type in _RANGES:
            return self.random.choice([*_RANGES[field.cpp_type], 0, 7])
        if field.cpp_type == field.CPPTYPE_FLOAT:
            return self.random.choice(
                [0.1, -2.5, 1e-30, 3e38, float("inf"), float("-inf"), float("nan"), 3.0]
            )
        if field.cpp_type == field.CPPTYPE_BOOL:
            return self.random.random() < 0.5
        if field.cpp_type == field.CPPTYPE_ENUM:
            return self.random.choice(field.enum_type.values).number
        return self.text()


@EXAMPLES
@given(st.integers(0, 10**9), st.booleans(), st.booleans(), st.booleans())
def test_text_that_protobuf_writes_is_read_the_same(seed, as_utf8, one_line, brackets):
    message = Messages(seed).fill(EasyRecConfig())
    text = text_format.MessageToString(
        message,
        as_utf8=as_utf8,
        as_one_line=one_line,
        pointy_brackets=brackets,
        use_short_repeated_primitives=brackets,
    )
    assert canon(load(text)) == canon(message)
    assert canon(load(to_text(message))) == canon(message)


@EXAMPLES
@given(st.integers(0, 10**9), st.booleans(), st.booleans())
def test_json_that_protobuf_writes_is_read_the_same(seed, proto_names, numbers):
    message = Messages(seed).fill(EasyRecConfig())
    text = json_format.MessageToJson(
        message, preserving_proto_field_name=proto_names, use_integers_for_enums=numbers
    )
    expected = json_format.Parse(text, EasyRecConfig())
    assert canon(load(text, "a.json")) == canon(expected) == canon(message)


@settings(EXAMPLES, max_examples=400)
@given(st.data())
def test_mutated_text_is_a_user_error_or_what_protobuf_reads(data):
    text = GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.sampled_from([0, 0, 1, 3, 20]))
        new = data.draw(
            st.sampled_from(
                ["", "{", "}", "[", "]", '"', "'", ":", ",", ";", "<", ">", "#", "-", "0", "x", "é"]
            )
        )
        text = text[:at] + new + text[at + cut :]
    try:
        message = load(text)
    except UserError as error:
        assert "a.config" in str(error)  # noqa: PT017 (either outcome is fine)
    else:
        assert canon(text_format.Parse(text, EasyRecConfig())) == canon(message)


@settings(EXAMPLES, max_examples=200)
@given(st.data())
def test_mutated_json_is_a_user_error_or_what_protobuf_reads(data):
    text = json_format.MessageToJson(text_format.Parse(GOOD, EasyRecConfig()))
    at = data.draw(st.integers(0, len(text)))
    new = data.draw(st.sampled_from(["", "{", "}", "[", "]", '"', ":", ",", "-", "0", "null", "\\"]))
    text = text[:at] + new + text[at + data.draw(st.integers(0, 2)) :]
    try:
        message = load(text, "a.json")
    except UserError:
        return
    assert canon(json_format.Parse(text, EasyRecConfig())) == canon(message)


@settings(EXAMPLES, max_examples=200)
@given(st.binary(max_size=60), st.sampled_from(["a.config", "a.json"]))
def test_any_bytes_are_read_or_refused(raw, name):
    Path(name).write_bytes(raw)
    try:
        load_pipeline(name)
    except UserError as error:
        assert name in str(error)  # noqa: PT017 (either outcome is fine)


@pytest.mark.parametrize("text", ["a{" * 5000, "a:[" * 5000, "a<" * 5000, "{" * 5000, "a: " + "9" * 10000])
def test_depth_and_length_are_bounded(text):
    assert "a.config:1:" in refused(text)
    assert "a.json:1:" in refused('{"a":' * 5000, "a.json")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("train_config: { num_steps: 0x1F, num_epochs: 017; }", {"num_steps": 31, "num_epochs": 15}),
        ("train_config < use_tensorboard: f cudnn_allow_tf32: 1 > # end", {"use_tensorboard": False}),
        ("train_config { grad_clipping { max_gradient: 1.5f norm_type: -inf } }", {}),
        ("train_config { tensorboard_summaries: ['a', \"b\"] tensorboard_summaries: 'c' }", {}),
    ],
)
def test_grammar(text, found):
    message = load(text)
    assert canon(message) == canon(text_format.Parse(text, EasyRecConfig()))
    for name, value in found.items():
        assert getattr(message.train_config, name) == value


def test_texts():
    assert load(r"""train_input_path: "a" 'b' '\x1d\002\u4e2d"\'' """).train_input_path == "ab\x1d\x02中\"'"
    assert load('train_input_path: "\\344\\270\\255"').train_input_path == "中"
    assert refused('model_dir: "\\q"').startswith("a.config:1:12: unknown escape \\q")
    assert refused('model_dir: "\\377"') == "a.config:1:12: the escaped bytes are not UTF-8"


def test_enum_by_number_and_maps():
    message = load(
        'data_config { dataset_type: 2 } feature_configs { id_feature { vocab_dict { key: "a" value: 1 } '
        'vocab_dict: [{ key: "b" value: 2 }, { value: 3 key: "c" }] } }'
    )
    assert message.data_config.dataset_type == 2
    assert dict(message.feature_configs[0].id_feature.vocab_dict) == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("train_config {\n  num_epoch: 1\n}", 'a.config:2:3: train_config has no field "num_epoch"; did you mean "num_epochs"?'),
        ("model_dirr: 'a'", 'a.config:1:1: the configuration has no field "model_dirr"; did you mean "model_dir"?'),
        ("train_config { num_steps: -1 }", "a.config:1:27: num_steps wants a whole number from 0 to 4294967295, got -1"),
        ("train_config { num_steps: 4294967296 }", "a.config:1:27: num_steps wants a whole number from 0 to 4294967295, got 4294967296"),
        ("train_config { num_steps: '1' }", 'a.config:1:27: num_steps wants a whole number from 0 to 4294967295, got the text "1"; write it without quotes'),
        ("train_config { use_tensorboard: yes }", "a.config:1:33: use_tensorboard wants true or false, got yes"),
        ("train_config { grad_scaler { init_scale: 1e39 } }", "a.config:1:42: init_scale wants a number that its type can hold, got 1e39"),
        ("train_config: 3", "a.config:1:15: train_config wants a block in { }, got 3"),
        ("model_dir { }", "a.config:1:11: model_dir wants a text in double quotes, got a block"),
        ("model_dir: abc", "a.config:1:12: model_dir wants a text in double quotes, got abc"),
        ("model_config { kernel: PYTORC }", 'a.config:1:24: kernel wants one of TRITON, PYTORCH, CUTLASS, got PYTORC; did you mean "PYTORCH"?'),
        ("model_dir: 'a'\nmodel_dir: 'b'", "a.config:2:1: model_dir is given twice, first in line 1"),
        ("model_config { dssm { }\n mind { } }", "a.config:2:2: mind excludes dssm of line 1: give one model"),
        ("train_config { num_steps: 1", 'a.config:1:14: the "{" of train_config is never closed'),
        ("train_config { num_steps: 1 } }", 'a.config:1:31: "}" closes nothing'),
        ("train_config { num_steps = 1 }", 'a.config:1:26: num_steps wants a ":" before its value, found "="'),
        ("train_config {\n num_steps:\n num_epochs: 1 }", "a.config:2:2: num_steps has no value"),
        ("model_dir: 'a", "a.config:1:12: the text \"a\" has no closing '"),
        ("= 3", 'a.config:1:1: wants the name of a field, found "="'),
        ("[tzrec.x]: 3", 'a.config:1:1: wants the name of a field, found "["'),
    ],
)  # fmt: skip
def test_one_mistake(text, line):
    assert refused(text) == line


def test_fields_of_other_families_are_explained():
    says = (
        'a.config:1:16: model_config has no field "deepfm"; models of other families than recall '
        "are not part of this pipeline: dssm, dssm_v2, dat, hstu_match, mind"
    )
    assert refused("model_config { deepfm { x: 1 } }") == says


def test_all_mistakes_come_at_once_in_the_order_of_the_file():
    text = "train_config { num_epoch: 1 num_steps: a }\nmodel_dirr: 'x' data_config { dataset_type: Parquet\n"
    assert refused(text).splitlines() == [
        "5 errors in a.config:",
        'a.config:1:16: train_config has no field "num_epoch"; did you mean "num_epochs"?',
        "a.config:1:40: num_steps wants a whole number from 0 to 4294967295, got a",
        'a.config:2:1: the configuration has no field "model_dirr"; did you mean "model_dir"?',
        'a.config:2:29: the "{" of data_config is never closed',
        "a.config:2:45: dataset_type wants one of OdpsDataset, ParquetDataset, CsvDataset, OdpsDatasetV1, "
        'KafkaDataset, got Parquet; did you mean "ParquetDataset"?',
    ]


def test_a_missing_brace_is_looked_for_where_the_next_block_begins():
    lines = refused(GOOD.replace("  num_epochs: 1\n}", "  num_epochs: 1\n")).splitlines()
    assert lines[1] == 'a.config:4:14: the "{" of train_config is never closed'
    assert lines[2].startswith(
        'a.config:9:1: train_config has no field "data_config", but a block around it has'
    )
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"trainConfig": {"num_epoch": 1}}', 'a.json:1:18: train_config has no field "num_epoch"; did you mean "num_epochs"?'),
        ('{"model_dir": "a",}', 'a.json:1:19: wants a name in double quotes behind the comma, found "}"'),
        ('{"model_dir": "a", "modelDir": "b"}', "a.json:1:20: model_dir is given twice, first in line 1"),
        ('{"feature_configs": {}}', "a.json:1:21: feature_configs wants a list in [ ], got a block"),
        ('{"train_config": {"num_steps": 1.5}}', "a.json:1:32: num_steps wants a whole number from 0 to 4294967295, got 1.5"),
        ("[]", 'a.json:1:1: wants a JSON object, found "["'),
        ('{"model_dir": tru}', 'a.json:1:15: "tru" is no JSON value'),
    ],
)  # fmt: skip
def test_one_mistake_in_json(text, line):
    assert refused(text, "a.json") == line


def test_json_numbers_and_null():
    message = load(
        json.dumps({"trainConfig": {"numSteps": "3", "num_epochs": 2e1, "mixed_precision": None}}), "a.json"
    )
    assert (message.train_config.num_steps, message.train_config.num_epochs) == (3, 20)
    assert not message.train_config.HasField("mixed_precision")


def test_files_that_cannot_be_read():
    with pytest.raises(UserError, match=r"none.config: cannot read the configuration: No such file"):
        load_pipeline("none.config")
    Path("b.config").write_bytes(b'model_dir: "a"\n\xff')
    with pytest.raises(UserError, match=r"b.config:2: the configuration is not UTF-8"):
        load_pipeline("b.config")
    Path("c.config").write_bytes(b'\xef\xbb\xbfmodel_dir: "a"\r\n')
    assert load_pipeline("c.config").message.model_dir == "a"


def test_where(loaded):
    assert loaded.where("train_config.num_epochs") == "a.config:7:3"
    assert loaded.where("feature_configs[2].raw_feature.boundaries") == "a.config:29:64"
    assert loaded.where("feature_configs[1]") == "a.config:25:1"
    assert loaded.where("feature_configs[2].raw_feature.init_fn") == "a.config:29:3"
    assert loaded.where("eval_config.num_steps") == "a.config"
    assert loaded.where("") == "a.config"


def test_saved_text_keeps_utf8_and_loads_again(loaded):
    loaded.message.model_dir = "模型"
    text = to_text(loaded.message)
    assert "模型" in text
    assert r'attr_delimiter: "\002"' in text
    assert load(text) == loaded.message
