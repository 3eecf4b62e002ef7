"""What batches draw from: streams of training and of evaluation that never meet.

The attack: evaluation drew from the stream of rank 0 in pass 0, so that its batches had the negatives of
the training steps of the same numbers.
"""

from itertools import product

import numpy as np
import pytest

from tests.small import Small
from tzrec.config import prepare
from tzrec.datasets.build import BatchMaker, build_loader
from tzrec.datasets.rows import EVALUATION_SEED, SEED
from tzrec.features.build import build_features
from tzrec.models.build import tower_features
from tzrec.runtime.world import World


def maker(small: Small, world: World, evaluation: bool) -> BatchMaker:
    pipeline = prepare(str(small.config)).message
    layout = tower_features(pipeline, build_features(pipeline.feature_configs, pipeline.data_config)).layout
    path = pipeline.eval_input_path if evaluation else pipeline.train_input_path
    made = build_loader(pipeline.data_config, layout, world, path, evaluation).make
    assert isinstance(made, BatchMaker)
    return made


@pytest.mark.parametrize("rank", [0, 1])
def test_training_draws_by_rank_and_evaluation_by_none(small: Small, rank: int) -> None:
    world = World(rank, 2, rank, 2)
    assert maker(small, world, False).stream == (SEED, rank)
    assert maker(small, world, True).stream == (EVALUATION_SEED, 0)


def test_evaluation_equals_no_stream_of_training_nor_of_masking() -> None:
    """Nor does the order of rows, [SEED, pass], or the seed of a step."""
    here = [list(place) for place in product(range(3), range(3), range(20))]
    training = [[SEED, *place] for place in here]
    training += [[SEED, *place, 1] for place in here] + [[SEED, epoch] for epoch in range(1, 20)]
    evaluation = [[EVALUATION_SEED, 0, 0, step] for step in range(20)]
    states = [
        {tuple(np.random.SeedSequence(words).generate_state(4)) for words in part}
        for part in (training, evaluation)
    ]
    assert len(states[1]) == 20
    assert not states[0] & states[1]
