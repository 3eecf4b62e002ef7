"""--edit_config_json: paths, selectors, values, and that nothing is silently ignored."""

# ruff: noqa: E501 (tables of inputs and messages)

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tzrec.config import apply_edits
from tzrec.protos import model_pb2
from tzrec.runtime.errors import UserError


def edit(loaded, **edits):
    """Edits with `__` for the dots of a path."""
    apply_edits(loaded.message, json.dumps({path.replace("__", "."): value for path, value in edits.items()}))
    return loaded.message


def refused(loaded, edits):
    before = loaded.message.SerializeToString(deterministic=True)
    with pytest.raises(UserError) as error:
        apply_edits(loaded.message, edits if isinstance(edits, str) else json.dumps(edits))
    assert loaded.message.SerializeToString(deterministic=True) == before
    return str(error.value)


def dims(message):
    return [f.id_feature.embedding_dim for f in message.feature_configs]


def test_scalars(loaded):
    message = edit(
        loaded,
        data_config__negative_sampler__input_path="data/taobao_ad_feature_gl",
        data_config__batch_size=32,
        data_config__shuffle=True,
        data_config__fg_mode="FG_DAG",
        train_config__num_epochs="3",
        train_config__log_step_count_steps=2e1,
        model_config__dssm__temperature="0.5",
    )
    assert message.data_config.negative_sampler.input_path == "data/taobao_ad_feature_gl"
    assert (message.data_config.batch_size, message.data_config.shuffle) == (32, True)
    assert (message.data_config.fg_mode, message.train_config.num_epochs) == (3, 3)
    assert (message.train_config.log_step_count_steps, message.model_config.dssm.temperature) == (20, 0.5)


def test_unset_blocks_are_created(loaded):
    assert edit(loaded, export_config__exporter_type="best").export_config.exporter_type == "best"


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("[0]", [9, 4]),
        ("[-2]", [4, 9]),
        ("[0:2]", [9, 9]),
        ("[:1]", [9, 4]),
        ("[1:-1]", [4, 9]),
        ("[id_feature.feature_name=item_id]", [4, 9]),
        ('[id_feature.feature_name="item_id"]', [4, 9]),
        ("[id_feature.embedding_dim>=4]", [9, 9]),
        ("[id_feature.num_buckets>9]", [9, 4]),
        ("[id_feature.num_buckets<10]", [4, 9]),
        ("[id_feature.hash_bucket_size<=0]", [9, 4]),
        ("[id_feature.trainable=true]", [9, 9]),
    ],
)
def test_selectors(loaded, selector, expected):
    apply_edits(loaded.message, json.dumps({f"feature_configs{selector}.id_feature.embedding_dim": 9}))
    assert dims(loaded.message) == [*expected, 0]


def test_conditions_on_enums_and_floats(loaded):
    edit(loaded, **{"model_config__feature_groups[group_type=DEEP]__group_type": "WIDE"})
    assert [g.group_type for g in loaded.message.model_config.feature_groups] == [model_pb2.WIDE] * 2


def test_lists_snippets_and_null(loaded):
    message = edit(
        loaded,
        model_config__dssm__user_tower__mlp__hidden_units=[16, 8],
        data_config__label_fields=["a", "b"],
        model_config__metrics=["{ recall_at_k { top_k: 1 } }", {"recall_at_k": {"top_k": 2}}],
        train_config__dense_optimizer__sgd_optimizer="{ lr: 0.5 momentum: 0 }",
        data_config__negative_sampler__attr_fields="['x', 'y']",
        train_config__num_epochs=None,
    )
    assert message.model_config.dssm.user_tower.mlp.hidden_units == [16, 8]
    assert message.data_config.label_fields == ["a", "b"]
    assert [m.recall_at_k.top_k for m in message.model_config.metrics] == [1, 2]
    assert message.train_config.dense_optimizer.WhichOneof("optimizer") == "sgd_optimizer"
    assert message.train_config.dense_optimizer.sgd_optimizer.lr == 0.5
    assert message.data_config.negative_sampler.attr_fields == ["x", "y"]
    assert not message.train_config.HasField("num_epochs")


def test_elements_and_maps(loaded):
    message = edit(
        loaded,
        **{
            "model_config.feature_groups[1].feature_names[1]": "other",
            "model_config.dssm.user_tower.mlp.hidden_units[:]": 3,
            "feature_configs[2]": '{ id_feature { feature_name: "new" } }',
            "feature_configs[2].id_feature.vocab_dict": {"a": 2},
        },
    )
    assert message.model_config.feature_groups[1].feature_names == ["item_id", "other"]
    assert message.model_config.dssm.user_tower.mlp.hidden_units == [3, 3]
    assert message.feature_configs[2].id_feature.feature_name == "new"
    assert dict(message.feature_configs[2].id_feature.vocab_dict) == {"a": 2}


def test_joined_paths(loaded):
    message = edit(
        loaded, **{"train_config.num_epochs; data_config.negative_sampler": "2; { input_path: ';' }"}
    )
    assert message.train_config.num_epochs == 2
    assert message.data_config.negative_sampler.input_path == ";"


def test_one_path_keeps_its_semicolons(loaded):
    assert edit(loaded, model_dir="a;b").model_dir == "a;b"


HERE = "--edit_config_json: "
PATHS = [
    "feature_configs[:].id_feature.embedding_dim",
    "feature_configs[id_feature.embedding_dim>=4].id_feature",
    "feature_configs[0:2].id_feature.vocab_dict",
    "model_config.feature_groups[group_name=user].feature_names",
    "train_config.num_epochs;model_dir",
    "train_config.grad_clipping.max_gradient",
    "feature_configs",
]
VALUES = [
    1,
    -1,
    1.5,
    "x",
    "1;2",
    "{ }",
    "{ lr: 1 }",
    "[1]",
    [1],
    "{",
    [None],
    None,
    True,
    {},
    {"a": 1},
    [[1]],
    "9" * 5000,
]


@pytest.mark.parametrize(
    ("edits", "line"),
    [
        ("{", "not a JSON object such as {\"train_config.num_epochs\": 2}: column 2: wants a name in double quotes, found the end"),
        ("[1]", "not a JSON object such as {\"train_config.num_epochs\": 2}: column 1: wants a JSON object, found \"[\""),
        ({"train_config.num_epoch": 1}, '"train_config.num_epoch": train_config has no field "num_epoch"; did you mean "num_epochs"?'),
        ({"feature_configs[3].id_feature.num_buckets": 1}, '"feature_configs[3].id_feature.num_buckets": feature_configs has 3 elements: [3] is out of range'),
        ({"feature_configs[5:].id_feature.num_buckets": 1}, '"feature_configs[5:].id_feature.num_buckets": feature_configs[5:] matches nothing'),
        ({"model_config.feature_groups[group_name=itme].group_type": "DEEP"}, '"model_config.feature_groups[group_name=itme].group_type": feature_groups[group_name=itme] matches nothing; did you mean "item"?'),
        ({"data_config.batch_size": "many"}, '"data_config.batch_size": batch_size wants a whole number from 0 to 4294967295, got many'),
        ({"data_config.batch_size": 1.5}, '"data_config.batch_size": batch_size wants a whole number from 0 to 4294967295, got 1.5'),
        ({"model_dir": 3}, '"model_dir": model_dir wants a text in double quotes, got 3'),
        ({"model_config.dssm.similarity": "COSIN"}, '"model_config.dssm.similarity": similarity wants one of COSINE, INNER_PRODUCT, EUCLID, got COSIN; did you mean "COSINE"?'),
        ({"data_config.label_fields": "clk"}, '"data_config.label_fields": label_fields is repeated: give a list such as ["clk"], or choose one as label_fields[0]'),
        ({"feature_configs.id_feature.num_buckets": 1}, '"feature_configs.id_feature.num_buckets": feature_configs is repeated: say which, such as feature_configs[0] or feature_configs[:]'),
        ({"train_config[0].num_steps": 1}, '"train_config[0].num_steps": train_config is not repeated: leave out [0]'),
        ({"model_dir.x": 1}, '"model_dir.x": model_dir is no block: it has no fields of its own'),
        ({"a..b": 1}, '"a..b": "" is no field name, with [index], [a:b], [:] or [sub.path=value]'),
        ({"": 1}, '"": "" is no field name, with [index], [a:b], [:] or [sub.path=value]'),
        ({"feature_configs[x].id_feature.num_buckets": 1}, '"feature_configs[x].id_feature.num_buckets": [x] is no [index], [a:b], [:] or [sub.path=value] with = > < >= <='),
        ({"feature_configs[id_feature.nam=x].id_feature": "{}"}, '"feature_configs[id_feature.nam=x].id_feature": id_feature has no field "nam"'),
        ({"feature_configs[id_feature.feature_name>x].id_feature": "{}"}, '"feature_configs[id_feature.feature_name>x].id_feature": the condition\'s feature_name has no order: > compares numbers only'),
        ({"train_config.num_steps;model_dir": "1"}, '"train_config.num_steps;model_dir": 2 paths want as many values in one text, joined by ;, got 1 in "1"'),
        ({"train_config.num_steps;model_dir": 1}, '"train_config.num_steps;model_dir": 2 paths want as many values in one text, joined by ;'),
        ({"train_config.num_steps; train_config.num_steps": "1;2"}, '"train_config.num_steps; train_config.num_steps": given twice'),
        ('{"model_dir": "a", "model_dir": "b"}', '"model_dir": given twice'),
        ({"feature_configs[0].id_feature.vocab_dict": "{}"}, '"feature_configs[0].id_feature.vocab_dict": vocab_dict wants an object in { }, got the text "{}"'),
        ({"train_config.dense_optimizer": "{ lr: 1 }"}, '"train_config.dense_optimizer": dense_optimizer has no field "lr"'),
        ({"train_config.num_steps": "1 num_epochs: 2"}, '"train_config.num_steps": num_steps wants one value, got "1 num_epochs: 2"'),
    ],
)  # fmt: skip
def test_one_mistake(loaded, edits, line):
    assert refused(loaded, edits).startswith(HERE + line)


def test_no_silent_change_of_a_oneof(loaded):
    says = refused(loaded, {"feature_configs[:].id_feature.embedding_dim": 8})
    assert says.startswith(
        HERE
        + '"feature_configs[:].id_feature.embedding_dim": feature_configs[2].id_feature is not set, raw_feature is'
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_edit_is_done_or_refused(loaded, data):
    path = data.draw(st.sampled_from(PATHS))
    at = data.draw(st.integers(0, len(path)))
    path = (
        path[:at]
        + data.draw(st.sampled_from(["", "[", "]", ".", "=", ":", "0", "-", '"', ";", "a"]))
        + path[at:]
    )
    message = type(loaded.message)()
    message.CopyFrom(loaded.message)
    try:
        apply_edits(message, json.dumps({path: data.draw(st.sampled_from(VALUES))}))
    except UserError as error:
        assert HERE in str(error)  # noqa: PT017 (either outcome is fine)
        assert message == loaded.message


def test_all_mistakes_at_once(loaded):
    lines = refused(loaded, {"model_dir": "x", "model_dirr": "y", "train_config.num_steps": "z"}).splitlines()
    assert lines[0] == "2 errors in --edit_config_json:"
    assert [line.split('"')[1] for line in lines[1:]] == ["model_dirr", "train_config.num_steps"]
