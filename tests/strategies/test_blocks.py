"""The strategies that differ in which blocks train, when and how fast."""

import numpy as np
import pytest
from pydantic import ValidationError

from graft.core.errors import GraftError
from graft.strategies.base import Phase
from graft.strategies.full import Full
from graft.strategies.gradual import Gradual
from graft.strategies.layerwise import Layerwise
from graft.strategies.partial import Partial
from graft.strategies.surgical import Surgical
from graft.training.loop import Recipe, TrainingLoop

BLOCKS = ("stem", "block1", "block2", "head")


@pytest.mark.parametrize(
    ("count", "trained"),
    [
        (1, ("block2", "head")),
        (2, ("block1", "block2", "head")),
        (3, ("stem", "block1", "block2", "head")),
    ],
)
def test_partial_trains_the_last_blocks_and_the_head(count, trained):
    assert Partial(blocks=count).phases(BLOCKS) == (Phase(dict.fromkeys(trained, 1.0)),)


def test_partial_refuses_more_blocks_than_there_are():
    message = "received blocks: 4; the network has 3 beside its head: stem, block1, block2"
    with pytest.raises(GraftError, match=message):
        Partial(blocks=4).phases(BLOCKS)
    with pytest.raises(ValidationError):
        Partial(blocks=0)


def test_gradual_thaws_one_block_a_phase_from_the_head_down():
    assert Gradual().phases(BLOCKS) == (
        Phase({"head": 1.0}, 0.25),
        Phase({"block2": 1.0, "head": 1.0}, 0.25),
        Phase({"block1": 1.0, "block2": 1.0, "head": 1.0}, 0.25),
        Phase({"stem": 1.0, "block1": 1.0, "block2": 1.0, "head": 1.0}, 0.25),
    )


def test_layerwise_rates_decay_towards_the_input():
    (phase,) = Layerwise(decay=0.5).phases(BLOCKS)
    assert phase == Phase({"stem": 0.125, "block1": 0.25, "block2": 0.5, "head": 1.0})
    assert list(phase.rates) == list(BLOCKS)
    for decay in (0.0, 1.5):
        with pytest.raises(ValidationError):
            Layerwise(decay=decay)


def test_surgical_trains_one_block_and_the_head():
    assert Surgical(block="stem").phases(BLOCKS) == (Phase({"stem": 1.0, "head": 1.0}),)


@pytest.mark.parametrize("block", ["block3", "head"])
def test_surgical_names_the_blocks_that_there_are(block):
    with pytest.raises(GraftError, match=f"no block '{block}'; expected one of: block1, block2,"):
        Surgical(block=block).phases(BLOCKS)


def test_surgical_asks_for_its_block():
    with pytest.raises(ValidationError, match="Field required"):
        Surgical()


def fitted(network, phases, recipe, data):
    start = network.weights()
    TrainingLoop(network, phases, recipe).fit(*data, np.random.default_rng(0))
    after = network.weights()
    network.assign(start)
    return start, after


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_layerwise_step_is_a_full_step_scaled_block_by_block(
    small_network, images, labels, optimizer
):
    recipe = Recipe(steps=1, batch_size=24, learning_rate=0.01, optimizer=optimizer)
    blocks = small_network.blocks
    data = (images, labels)
    start, full = fitted(small_network, Full().phases(blocks), recipe, data)
    _, scaled = fitted(small_network, Layerwise(decay=0.5).phases(blocks), recipe, data)
    for path, value in scaled.items():
        factor = {"block1": 0.125, "block2": 0.25, "block3": 0.5, "head": 1.0}
        expected = factor[path.split("_")[0].split("/")[0]] * (full[path] - start[path])
        np.testing.assert_allclose(value - start[path], expected, rtol=1e-3, atol=1e-6)


def test_a_block_that_thaws_late_takes_adams_first_step_of_one_rate(small_network, images, labels):
    # Adam's first step is the learning rate in the gradient's direction. With the step count of
    # an optimizer that has run on, it would be several times as long.
    recipe = Recipe(steps=41, batch_size=24, learning_rate=0.001, schedule="constant")
    last = Phase({"block3": 1.0, "head": 1.0}, 1 / 41)
    phases = [Phase({"head": 1.0}, 40 / 41), last]
    start, after = fitted(small_network, phases, recipe, (images, labels))
    step = np.abs(after["block3_dense/bias"] - start["block3_dense/bias"])
    assert step.max() == pytest.approx(0.001, rel=1e-2)
    assert step.max() <= 0.00101
