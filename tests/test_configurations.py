"""Configurations of other kinds train, evaluate and learn: each through the real command."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from google.protobuf import json_format

from tests.small import Small, command
from tzrec.config import prepare
from tzrec.serving.split import load_model, split
from tzrec.training.checkpoint import path_of, read_facts, steps_in, write_facts


def train(small: Small, *words: object, edits: dict | None = None) -> dict[str, float]:
    """Trains and returns the last evaluation."""
    flags = ["--edit_config_json", json.dumps(edits)] if edits else []
    done = command("tzrec.train_eval", "--pipeline_config_path", small.config, *words, *flags)
    assert done.returncode == 0, done.stderr
    return json.loads((small.model / "train_eval_result.txt").read_text().splitlines()[-1])


def rewrite(small: Small, *changes: tuple[str, str]) -> None:
    text = small.config.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    small.config.write_text(text)


def test_fg_normal_and_the_options_of_the_input(small: Small) -> None:
    found = train(
        small,
        edits={
            "data_config.fg_mode": "FG_NORMAL",
            "data_config.shuffle": True,
            "data_config.shuffle_buffer_size": 4,
            "data_config.drop_remainder": True,
            "data_config.eval_batch_size": 64,
            "data_config.negative_sampler.num_eval_sample": 16,
            "data_config.sample_weight_fields": ["age"],
            "data_config.num_workers": 0,
            "model_config.losses[0].softmax_cross_entropy.label_smoothing": 0.1,
        },
    )
    # 17 candidates: chance is 5 / 17 = 0.29.
    assert found["recall@5"] > 0.45


def test_fg_none_reads_encoded_columns(small: Small) -> None:
    rewrite(
        small,
        ("FG_DAG", "FG_NONE"),
        ('vocab_list: ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"]', "num_buckets: 8"),
        # Only the feature's own name counts.
        ('"user:user_id"', '"user:elsewhere"'),
    )
    for file in small.root.glob("*/*.parquet"):
        table = pq.read_table(file)
        codes = [text.removeprefix("c") for text in table["cate"].to_pylist()]
        pq.write_table(table.set_column(table.column_names.index("cate"), "cate", [codes]), file)
    negatives = small.root / "negatives.txt"
    negatives.write_text(negatives.read_text().replace("\x02c", "\x02"))
    # 33 candidates: chance is 0.15.
    assert train(small, edits={"train_config.num_steps": 60})["recall@5"] > 0.35


def test_in_batch_negatives(small: Small) -> None:
    text = small.config.read_text()
    start, stop = text.index("  negative_sampler {"), text.index("feature_configs")
    small.config.write_text(text[:start] + "}\n" + text[stop:])
    rewrite(small, ("temperature: 0.1", "temperature: 0.1 in_batch_negative: true"))
    # 100 candidates: chance is 0.05.
    assert train(small)["recall@5"] > 0.1


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"data_config.negative_sampler": None}, "dssm has no negatives"),
        ({"model_config.dssm.mask_accidental_hits": True}, "is for in_batch_negative: true"),
        (
            {
                "data_config.negative_sampler": None,
                "model_config.dssm.in_batch_negative": True,
                "model_config.dssm.logq_correction": True,
            },
            "set data_config.item_id_field",
        ),
        ({"data_config.item_id_field": "user_id"}, 'item_id_field is "user_id", that of negative_sampler is'),
    ],
)
def test_negatives_that_cannot_be(small: Small, edits: dict, message: str) -> None:
    words = ["--pipeline_config_path", small.config, "--edit_config_json", json.dumps(edits)]
    done = command("tzrec.train_eval", *words)
    assert done.returncode == 2
    assert message in done.stderr


def test_json_configuration(small: Small) -> None:
    message = prepare(str(small.config)).message
    path = small.root / "pipeline.json"
    path.write_text(json_format.MessageToJson(message, preserving_proto_field_name=True))
    found = train(Small(small.root), "--pipeline_config_path", path)
    assert found["global_step"] == 16


def test_fine_tuning_begins_with_other_parameters(trained: Small, small: Small) -> None:
    origin = path_of(trained.model, 16)
    edits = {"train_config.num_steps": 1}
    cold = train(small, edits=edits)
    warm = train(small, "--model_dir", small.root / "warm", "--fine_tune_checkpoint", origin, edits=edits)
    assert warm == cold  # The cold run's file: the warm one lies elsewhere.
    found = json.loads((small.root / "warm" / "train_eval_result.txt").read_text())
    assert found["loss"] < cold["loss"] - 0.2
    assert found["global_step"] == 1


def test_epochs_and_the_best_checkpoint(small: Small, tmp_path: Path) -> None:
    edits = {
        "train_config.num_steps": None,
        "train_config.num_epochs": 2,
        "train_config.save_checkpoints_steps": None,
        "train_config.save_checkpoints_epochs": 1,
        "train_config.use_tensorboard": True,
        "export_config": "{exporter_type: 'best' best_exporter_metric: 'recall@5'}",
    }
    train(small, edits=edits)
    assert steps_in(small.model) == [30, 60]
    assert read_facts(path_of(small.model, 60)).position.epoch == 2
    assert list(small.model.glob("events.out.tfevents.*"))
    assert list((small.model / "eval_val").glob("events.out.tfevents.*"))
    # The earlier one is made the better one, so that "best" is not by chance the newest.
    facts = read_facts(path_of(small.model, 30))
    facts.metrics["recall@5"] = 0.99
    write_facts(path_of(small.model, 30), facts)
    done = command(
        "tzrec.export",
        *("--pipeline_config_path", small.model / "pipeline.config", "--export_dir", tmp_path / "export"),
    )
    assert done.returncode == 0, done.stderr
    assert "model.ckpt-30 " in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("adagrad_optimizer { lr: 0.05 }", "adam_optimizer { lr: 0.05 }", "adam_optimizer"),
        ('attr_fields: ["item_id", "cate"]', 'attr_fields: ["item_id"]', "the item tower reads cate"),
        ("batch_size: 100", "batch_size: 100 drop_remainder: true batch_size: 9", "batch_size"),
        ('pooling: "mean"', 'pooling: "mean" init_fn: "nn.init.unifrom_"', "uniform_"),
    ],
)
def test_refusals_of_training(small: Small, old: str, new: str, message: str) -> None:
    rewrite(small, (old, new))
    done = command("tzrec.train_eval", "--pipeline_config_path", small.config)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert not small.model.exists()


def test_tables_of_any_width(small: Small) -> None:
    """Widths that are no multiple of four: memory and checkpoints hold zeros behind, exports do not."""
    rewrite(small, ("embedding_dim: 8", "embedding_dim: 6"), ("embedding_dim: 4", "embedding_dim: 3"))
    edits = {"train_config.global_embedding_constraints": "{sharding_types: 'row_wise'}"}
    words = ("--pipeline_config_path", small.config, "--edit_config_json", json.dumps(edits))
    done = command("tzrec.train_eval", *words, processes=2)
    assert done.returncode == 0, done.stderr
    assert 'embedding_dim 6: in memory and in checkpoints the rows of the table of "seen"' in done.stdout
    pipeline = prepare(str(small.model / "pipeline.config")).message
    model = load_model(pipeline, path_of(small.model, 16))
    found = dict(model.named_parameters())
    for name, width in (("item.embedding_bags.table_items", 6), ("item.embedding_bags.table_cate_emb", 3)):
        weight = found[f"embeddings.tables.{name}.weight"]
        assert weight[:, :width].all()
        assert not weight[:, width:].any()
    assert [table.shape[1] for table in split(model)["item"].buffers()] == [6, 3]
