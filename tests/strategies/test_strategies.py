"""The contract that every strategy keeps."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from graft.finetuning.finetuner import Finetuner
from graft.finetuning.methods import Method
from graft.strategies.registry import STRATEGIES
from graft.training.loop import Recipe

BLOCKS = ("stem", "block1", "block2", "block3", "head")
RECIPE = Recipe(steps=5, batch_size=8, learning_rate=0.01)

# What a strategy cannot do without.
NEEDED = {"surgical": {"block": "block2"}}


TRAINED = [name for name in STRATEGIES if name != "none"]


@pytest.fixture(params=STRATEGIES)
def strategy(request):
    return STRATEGIES[request.param](**NEEDED.get(request.param, {}))


@pytest.mark.parametrize("strategy", TRAINED, indirect=True)
def test_the_shares_of_its_phases_add_up_to_1(strategy):
    phases = strategy.phases(BLOCKS)
    assert sum(phase.share for phase in phases) == pytest.approx(1, abs=1e-12)
    assert all(phase.share > 0 for phase in phases)


def test_every_phase_trains_known_blocks_at_positive_rates(strategy):
    for phase in strategy.phases(BLOCKS):
        assert phase.rates
        assert set(phase.rates) <= set(BLOCKS)
        assert all(rate > 0 for rate in phase.rates.values())


@pytest.mark.parametrize("strategy", TRAINED, indirect=True)
def test_the_head_trains(strategy):
    phases = strategy.phases(BLOCKS)
    assert strategy.solved_head is not None or any("head" in phase.rates for phase in phases)


def test_a_head_is_solved_with_a_positive_c_or_not_at_all(strategy):
    assert strategy.solved_head is None or strategy.solved_head > 0


def test_it_says_where_it_starts(strategy):
    assert strategy.start in ("source", "random")
    assert (strategy.start == "random") is (strategy.name == "scratch")


def test_its_options_survive_being_written_down(strategy):
    assert type(strategy)(**json.loads(strategy.model_dump_json())) == strategy


def test_it_is_frozen(strategy):
    with pytest.raises(ValidationError, match="frozen"):
        strategy.name = "other"


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_goes_by_its_name(name):
    assert STRATEGIES[name](**NEEDED.get(name, {})).name == name


@pytest.mark.parametrize("strategy", TRAINED, indirect=True)
def test_what_it_does_not_train_stays_to_the_bit_and_it_trains_alike_every_time(
    strategy, two_block_network, images, labels
):
    before = two_block_network.weights()
    finetuner = Finetuner(two_block_network, Method(strategy=strategy), RECIPE)
    first = finetuner.train(images, labels, np.random.default_rng(0))
    after = two_block_network.weights()

    named = {block for phase in strategy.phases(two_block_network.blocks) for block in phase.rates}
    for path, value in after.items():
        moved = value.tobytes() != before[path].tobytes()
        assert moved is (path in first.weights), path
        assert path.split("_")[0].split("/")[0] in named or not moved, path
    assert {"head/kernel", "head/bias"} <= first.weights.keys()

    second = finetuner.train(images, labels, np.random.default_rng(0))
    assert second.curve == first.curve
    assert second.weights.keys() == first.weights.keys()
    for path, value in second.weights.items():
        assert value.tobytes() == first.weights[path].tobytes(), path
