"""One configuration with every feature type, sequence encoder and kind of table: trained, exported, compared."""

# ruff: noqa: E501 (configurations)

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests import every_feature
from tests.small import command
from tzrec.config import prepare
from tzrec.datasets.batch import serving_tensors
from tzrec.datasets.build import build_loader
from tzrec.features.build import build_features
from tzrec.features.graph import compute_all
from tzrec.models.build import build_model, tower_features
from tzrec.runtime.world import World
from tzrec.serving.bundle import Bundle, write_bundle
from tzrec.serving.split import load_model, split
from tzrec.serving.tower import script
from tzrec.training.checkpoint import path_of

ROWS = 64
MORE = {
    # Ids with weights, an own pooling on a table that others share, float16, a frozen table.
    "weighted": 'id_feature { feature_name: "weighted" expression: "user:likes" weighted: true hash_bucket_size: 50 embedding_dim: 4 embedding_name: "likes" }',
    "mean_of_likes": 'id_feature { feature_name: "mean_of_likes" expression: "user:likes" hash_bucket_size: 50 embedding_dim: 4 embedding_name: "likes" pooling: "mean" }',
    "half": 'id_feature { feature_name: "half" expression: "user:city" hash_bucket_size: 50 embedding_dim: 4 data_type: "FP16" init_fn: "nn.init.normal_,std=0.3" }',
    "half_likes": 'id_feature { feature_name: "half_likes" expression: "user:likes" hash_bucket_size: 50 embedding_dim: 4 data_type: "FP16" weighted: true }',
    "frozen": 'id_feature { feature_name: "frozen" expression: "user:city" hash_bucket_size: 50 embedding_dim: 4 trainable: false }',
    "frozen_seq": 'sequence_id_feature { feature_name: "frozen_seq" expression: "user:seq_word" sequence_length: 4 hash_bucket_size: 50 embedding_dim: 4 embedding_name: "frozen_emb" trainable: false }',
    # A table that is read by rows and by elements.
    "city": 'id_feature { feature_name: "city" expression: "user:city" hash_bucket_size: 50 embedding_dim: 8 embedding_name: "shared" pooling: "mean" }',
    "words": 'sequence_id_feature { feature_name: "words" expression: "user:seq_word" sequence_length: 4 hash_bucket_size: 50 embedding_dim: 8 embedding_name: "shared" }',
    "age": 'raw_feature { feature_name: "age" expression: "user:age" stub_type: true }',
    "older": 'expr_feature { feature_name: "older" variables: ["feature:age"] expression: "age + 1" }',
}
ENCODERS = """
  sequence_groups { group_name: "own" feature_names: [%(own)s] }
  sequence_groups { group_name: "grouped" feature_names: [%(grouped)s] }
  sequence_groups { group_name: "asked" feature_names: ["city", "words"] embedding_name_suffix: "_q" }
  sequence_groups { group_name: "still" feature_names: ["frozen_seq"] }
  sequence_encoders { pooling_encoder { input: "own" } }
  sequence_encoders { pooling_encoder { input: "still" pooling_type: "sum" max_seq_length: 2 } }
  sequence_encoders { self_attention_encoder { input: "grouped" multihead_attn_dim: 8 num_heads: 2 } }
  sequence_encoders { simple_attention { input: "asked" } }
  sequence_encoders { din_encoder { input: "asked" attn_mlp { hidden_units: [8] use_bn: true } } }
  sequence_encoders { multi_window_din_encoder { input: "asked" attn_mlp { hidden_units: [8] } windows_len: [1, 2] } }
"""


def configuration(root: Path) -> str:
    tokenizer = every_feature.write_tokenizer(root / "tokenizer.json")
    plain, own = every_feature.plain_blocks(tokenizer), every_feature.sequence_blocks(tokenizer)
    blocks = [*plain.values(), *own.values(), every_feature.group_block(tokenizer), *MORE.values()]
    blocks.append(
        'id_feature { feature_name: "item_word" expression: "item:word" hash_bucket_size: 50 embedding_dim: 8 embedding_name: "shared" pooling: "mean" }'
    )
    more = [name for name in MORE if name not in ("frozen_seq", "words", "age")]

    def listed(names) -> str:
        return ", ".join(f'"{name}"' for name in names)

    encoders = ENCODERS % {
        "own": listed(own),
        "grouped": listed(f"{every_feature.GROUP}__{kind}" for kind in every_feature.FIELDS),
    }
    features = "\n".join(f"feature_configs {{ {block} }}" for block in blocks)
    return f"""
train_input_path: "{root}/rows.parquet"
eval_input_path: "{root}/one.parquet"
model_dir: "{root}/model"
train_config {{
  sparse_optimizer {{ adagrad_optimizer {{ lr: 0.05 }} constant_learning_rate {{}} }}
  dense_optimizer {{ adam_optimizer {{ lr: 0.003 }} constant_learning_rate {{}} }}
  num_steps: 3
  save_checkpoints_steps: 1
  use_tensorboard: false
}}
data_config {{ batch_size: {ROWS // 2} dataset_type: ParquetDataset fg_mode: FG_DAG num_workers: 2 }}
{features}
model_config {{
  feature_groups {{ group_name: "user" feature_names: [{listed([*plain, *more])}] group_type: DEEP {encoders} }}
  feature_groups {{ group_name: "item" feature_names: ["item_word"] group_type: DEEP embedding_name_suffix: "" }}
  variational_dropout {{ regularization_lambda: 0.001 }}
  dssm {{
    user_tower {{ input: "user" mlp {{ hidden_units: [16] }} }}
    item_tower {{ input: "item" mlp {{ hidden_units: [16] }} }}
    output_dim: 8 similarity: COSINE temperature: 0.1 in_batch_negative: true
  }}
  metrics {{ recall_at_k {{ top_k: 1 }} }}
  losses {{ softmax_cross_entropy {{}} }}
}}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("every")
    pq.write_table(every_feature.table(ROWS), root / "rows.parquet")
    # Of two processes one evaluates a batch without rows.
    pq.write_table(every_feature.table(1), root / "one.parquet")
    (root / "pipeline.config").write_text(configuration(root))
    return root


@pytest.mark.parametrize("rows", [ROWS, 1])
def test_the_exported_model_gives_what_the_eager_one_gives(root: Path, tmp_path: Path, rows: int) -> None:
    pipeline = prepare(str(root / "pipeline.config")).message
    features = build_features(pipeline.feature_configs, pipeline.data_config)
    towers = tower_features(pipeline, features)
    torch.manual_seed(3)
    model = build_model(pipeline, towers).eval()
    pipeline.data_config.batch_size = ROWS
    loader = build_loader(pipeline.data_config, towers.layout, World(), pipeline.train_input_path)
    table = every_feature.table(ROWS)
    batch_rows = table.slice(0, rows).combine_chunks()
    columns = {
        name: pa.array(batch_rows[name].to_pylist(), batch_rows[name].type) for name in table.column_names
    }
    batch = loader.make(pa.RecordBatch.from_pydict(columns), 0, 0)
    with torch.no_grad():
        user, item = model.embeddings(batch)
        eager = {"user": model.user_tower(user), "item": model.item_tower(item)}
        for name, tower in split(model).items():
            exported = script(tower)
            inputs = serving_tensors(compute_all(tower.features, columns))
            (vectors,) = exported(inputs, torch.device("cpu")).values()
            assert vectors.shape == (rows, 8)
            assert torch.isfinite(vectors).all()
            torch.testing.assert_close(vectors, eager[name], rtol=1e-5, atol=1e-5)
            write_bundle(tmp_path / name, tower, pipeline)
            bundle = Bundle.open(str(tmp_path / name), torch.device("cpu"))
            served = bundle.vectors(compute_all(bundle.features, columns))
            torch.testing.assert_close(served, {tower.output: vectors})
            assert name == "item" or list((tmp_path / name).glob("p_tokenize_feature.tokenizer.json"))
    if rows > 1:
        assert (eager["user"][0] - eager["user"][1]).abs().max() > 1e-3
        nothing = {name: column.slice(0, 0) for name, column in columns.items()}
        inputs = serving_tensors(compute_all(tower.features, nothing))
        assert exported(inputs, torch.device("cpu"))["item_tower_emb"].shape == (0, 8)


def test_training_with_two_processes(root: Path) -> None:
    done = command("tzrec.train_eval", "--pipeline_config_path", root / "pipeline.config", processes=2)
    assert done.returncode == 0, done.stderr
    pipeline = prepare(str(root / "model" / "pipeline.config")).message
    before, after = (load_model(pipeline, path_of(root / "model", step)).state_dict() for step in (1, 3))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    tables = {name for name in after if ".table_" in name}
    assert tables - changed == {"embeddings.tables.frozen_4.embeddings.table_frozen_emb.weight"}
    assert any(".dropout.logit" in name for name in changed)
    assert any(".meta" in name for name in changed)
    half = {name for name in tables if after[name].dtype == torch.float16}
    assert {name.split("table_")[1] for name in half} == {"half_emb.weight", "half_likes_emb.weight"}
    suffixed = {name.split("table_")[1] for name in tables if "_q" in name}
    assert suffixed == {"shared_q.weight"}


def test_one_lookup_of_several_batches_finds_what_each_finds(root: Path) -> None:
    """Of every kind of collection, with a batch of fewer rows among them."""
    pipeline = prepare(str(root / "pipeline.config")).message
    pipeline.data_config.batch_size = ROWS // 3
    towers = tower_features(pipeline, build_features(pipeline.feature_configs, pipeline.data_config))
    model = build_model(pipeline, towers, table_device="cpu")
    loader = build_loader(pipeline.data_config, towers.layout, World(), pipeline.train_input_path)
    batches = list(loader.batches())
    assert len({batch.rows for batch in batches}) > 1
    for batch, found in zip(batches, model.embeddings.look_up(batches), strict=True):
        (alone,) = model.embeddings.look_up([batch])
        assert found.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(found[name], value)
            assert found[name].requires_grad == value.requires_grad
