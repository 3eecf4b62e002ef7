"""A small whole configuration that every test bends its own way."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tzrec.config import Loaded, load_pipeline

GOOD = r"""train_input_path: "train"
eval_input_path: "eval"
model_dir: "model"
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.001 } constant_learning_rate {} }
  dense_optimizer { adam_optimizer { lr: 0.001 } constant_learning_rate {} }
  num_epochs: 1
}
data_config {
  batch_size: 16
  dataset_type: ParquetDataset
  fg_mode: FG_NORMAL
  label_fields: "clk"
  negative_sampler {
    input_path: "items"
    num_sample: 8
    attr_fields: "item_id"
    item_id_field: "item_id"
    attr_delimiter: "\x02"
  }
}
feature_configs {
  id_feature { feature_name: "user_id" expression: "user:user_id" embedding_dim: 4 num_buckets: 10 }
}
feature_configs {
  id_feature { feature_name: "item_id" expression: "item:item_id" embedding_dim: 4 hash_bucket_size: 20 }
}
feature_configs {
  raw_feature { feature_name: "price" expression: "item:price" boundaries: [1, 2.5] embedding_dim: 4 }
}
model_config {
  feature_groups { group_name: "user" feature_names: "user_id" group_type: DEEP }
  feature_groups { group_name: "item" feature_names: ["item_id", "price"] group_type: DEEP }
  dssm {
    user_tower { input: "user" mlp { hidden_units: [8, 4] } }
    item_tower { input: "item" mlp { hidden_units: [8, 4] } }
    output_dim: 4
  }
  losses { softmax_cross_entropy {} }
  metrics { recall_at_k { top_k: 5 } }
}
"""

Written = Callable[..., str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    """Writes GOOD, with one text in the place of another, and gives the file's name."""
    monkeypatch.chdir(tmp_path)

    def write(old: str = "", new: str = "", name: str = "a.config") -> str:
        assert old in GOOD
        Path(name).write_text(GOOD.replace(old, new, 1) if old else GOOD)
        return name

    return write


@pytest.fixture
def loaded(written: Written) -> Loaded:
    """GOOD, loaded."""
    return load_pipeline(written())
