"""Numbers of negatives that no host can hold: told before they are drawn, not by the allocator."""

from pathlib import Path

import pytest

from tests.small import make_small
from tzrec.config import prepare
from tzrec.datasets.build import build_loader
from tzrec.datasets.candidates import InBatch
from tzrec.features.build import build_features
from tzrec.models.build import tower_features
from tzrec.runtime import memory
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World


@pytest.mark.parametrize(
    ("field", "evaluation", "message"),
    [
        (
            "num_sample",
            False,
            "negative_sampler.num_sample: 4294967295 negatives for a batch of 60 rows",
        ),
        (
            "num_eval_sample",
            True,
            "negative_sampler.num_eval_sample: 4294967295 negatives for a batch of",
        ),
    ],
)
def test_negatives_beyond_memory_are_told(tmp_path: Path, field: str, evaluation: bool, message: str) -> None:
    pipeline = prepare(str(make_small(tmp_path / "small", rows=60).config)).message
    setattr(pipeline.data_config.negative_sampler, field, 2**32 - 1)
    layout = tower_features(pipeline, build_features(pipeline.feature_configs, pipeline.data_config)).layout
    paths = pipeline.train_input_path
    with pytest.raises(UserError) as error:
        build_loader(pipeline.data_config, layout, World(), paths, evaluation=evaluation)
    assert str(error.value).startswith(message)


def test_scores_of_a_batch_beyond_memory_are_told(tmp_path: Path, monkeypatch) -> None:
    pipeline = prepare(str(make_small(tmp_path / "small", rows=3000).config)).message
    data = pipeline.data_config
    data.ClearField("negative_sampler")
    layout = tower_features(pipeline, build_features(pipeline.feature_configs, data)).layout
    monkeypatch.setattr(memory, "host_memory", lambda: 2**24)
    data.batch_size = 2**32 - 1
    with pytest.raises(UserError, match="batch_size: scores of 3000 rows with each other's items"):
        build_loader(data, layout, World(), pipeline.train_input_path, in_batch=InBatch(negatives=True))
    data.batch_size = 100
    build_loader(data, layout, World(), pipeline.train_input_path, in_batch=InBatch(negatives=True))
