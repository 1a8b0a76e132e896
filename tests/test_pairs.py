"""Every penalty under every strategy, on a network just large enough to have all their parts."""

import numpy as np
import pytest

from graft.finetuning.finetuner import Finetuner
from graft.finetuning.methods import Method
from graft.penalties.base import SourceTask
from graft.penalties.registry import PENALTIES
from graft.strategies.registry import STRATEGIES
from graft.training.loop import Recipe

RECIPE = Recipe(steps=4, batch_size=6, learning_rate=0.05)
NEEDED = {"surgical": {"block": "block1"}}


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(2)
    return rng.integers(0, 256, (9, 4, 4, 1), np.uint8), (np.arange(9) % 3).astype(np.int32)


@pytest.fixture(scope="module")
def target(two_blocks):
    return two_blocks.build((4, 4, 1), 3, seed=0)


@pytest.fixture(scope="module")
def theta_0(target):
    return target.weights()


@pytest.fixture(scope="module")
def source(two_blocks):
    rng = np.random.default_rng(3)
    network = two_blocks.build((5, 4, 1), 4, seed=0)
    inputs, labels = rng.integers(0, 256, (8, 5, 4, 1), np.uint8), np.arange(8) % 4
    return SourceTask(network, inputs[:4], labels[:4], inputs[4:], labels[4:])


@pytest.fixture(scope="module", params=[name for name in STRATEGIES if name != "none"])
def strategy(request):
    return STRATEGIES[request.param](**NEEDED.get(request.param, {}))


@pytest.fixture(scope="module")
def fit(target, theta_0, source, examples):
    """Return a function that trains from theta_0 by one method."""

    def train(finetuner):
        target.assign(theta_0)
        return finetuner.train(*examples, np.random.default_rng(0))

    def of(method):
        target.assign(theta_0)
        finetuner = Finetuner(target, method, RECIPE, source)
        return lambda: train(finetuner)

    return of


@pytest.fixture(scope="module")
def plain(fit, strategy):
    """What the strategy does under a penalty of which nothing is left, so that all have steps."""
    return fit(Method(strategy=strategy, penalty=Nothing(), batch_norm="adapt"))()


class Nothing(PENALTIES["l2"]):
    def __call__(self, target, source, batch):
        return 0.0

    strength: float = 0.0


def same(one, other):
    return one.keys() == other.keys() and all(
        value.tobytes() == other[path].tobytes() for path, value in one.items()
    )


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_works_under_a_strategy(  # noqa: PLR0917
    name, strategy, plain, fit, target, theta_0, source, tensorflow
):
    # One variable for the strength, so that one trace of the steps serves both of them.
    strength = tensorflow.Variable(0.1)
    penalty = PENALTIES[name](strength=1).model_copy(update={"strength": strength})
    before = source.network.weights()
    train = fit(Method(strategy=strategy, penalty=penalty, batch_norm="adapt"))

    first = train()
    assert np.all(np.isfinite([loss for _, loss in first.curve]))
    assert all(np.all(np.isfinite(value)) for value in first.weights.values())
    frozen = {path: v for path, v in target.weights().items() if path not in first.weights}
    assert same(frozen, {path: theta_0[path] for path in frozen})
    assert same(source.network.weights(), before)

    again = train()
    assert again.curve == first.curve
    assert same(again.weights, first.weights)

    strength.assign(0.0)
    without = train()
    assert without.curve == plain.curve
    assert same(without.weights, plain.weights)
