import numpy as np
import pytest

from graft.core.errors import GraftError
from graft.finetuning.finetuner import Finetuner
from graft.finetuning.methods import Method
from graft.strategies.none import NoTraining
from graft.training.loop import Recipe

RECIPE = Recipe(steps=5, batch_size=8, learning_rate=0.01)
METHOD = Method(strategy=NoTraining())


def test_nothing_trains(two_block_network, images, labels):
    before = two_block_network.weights()
    finetuned = Finetuner(two_block_network, METHOD, RECIPE).train(
        images, labels, np.random.default_rng(0)
    )
    assert (finetuned.weights, finetuned.steps, finetuned.curve) == ({}, 0, [])
    for path, value in two_block_network.weights().items():
        assert value.tobytes() == before[path].tobytes()


def test_a_new_head_is_refused(two_block_network):
    two_block_network.assign({"head/kernel": np.zeros((3, 3), np.float32)})
    with pytest.raises(GraftError, match=r"'none' leaves the head as it is, and this one is new"):
        Finetuner(two_block_network, METHOD, RECIPE)
