"""The contract that every penalty keeps."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from graft.penalties.base import Batch
from graft.penalties.registry import PENALTIES
from graft.strategies.base import Phase
from graft.training import Recipe, TrainingLoop

RECIPE = Recipe(steps=3, batch_size=8, optimizer="sgd", learning_rate=0.05)


@pytest.fixture(params=PENALTIES)
def kind(request):
    return PENALTIES[request.param]


@pytest.fixture
def source(norm_network):
    """Return the network at theta_0: every tensor off its usual start, and a head of zeros."""
    rng = np.random.default_rng(3)
    weights = {
        path: value + rng.uniform(0.05, 0.1, value.shape).astype(np.float32)
        for path, value in norm_network.weights().items()
    }
    norm_network.assign(
        {p: np.zeros_like(v) if p.startswith("head/") else v for p, v in weights.items()}
    )
    return norm_network


@pytest.fixture
def target(source):
    """Return a network away from theta_0."""
    twin = source.copy()
    rng = np.random.default_rng(4)
    twin.assign(
        {
            path: value + rng.normal(0, 0.1, value.shape).astype(np.float32)
            for path, value in source.weights().items()
            if not path.rsplit("/")[-1].startswith("moving_")
        }
    )
    return twin


@pytest.fixture
def batch_of(images, labels):
    """Return the batch of the first eight images as a network sees it."""

    def batch(network):
        targets = np.eye(3, dtype=np.float32)[labels[:8]]
        return Batch(images[:8], targets, *network.outputs(images[:8], training=False))

    return batch


def test_it_is_one_float32_that_is_not_negative(kind, target, source, batch_of):
    value = kind(strength=0.1)(target, source, batch_of(target)).numpy()
    assert (value.shape, value.dtype) == ((), np.float32)
    assert value > 0


def test_it_is_the_same_every_time(kind, target, source, batch_of):
    penalty, batch = kind(strength=0.1), batch_of(target)
    first = penalty(target, source, batch).numpy()
    assert penalty(target, source, batch).numpy().tobytes() == first.tobytes()


def test_it_grows_linearly_with_its_strength(kind, target, source, batch_of):
    batch = batch_of(target)
    value, tenfold = (float(kind(strength=s)(target, source, batch)) for s in (0.1, 1.0))
    assert tenfold == pytest.approx(10 * value, rel=1e-5)


def test_it_has_finite_gradients(kind, target, source, batch_of, tensorflow):
    variables = [variable.value for variable in target.parameters.values()]
    with tensorflow.GradientTape() as tape:
        value = kind(strength=0.1)(target, source, batch_of(target))
    gradients = [g for g in tape.gradient(value, variables) if g is not None]
    assert any(np.any(g.numpy() != 0) for g in gradients)
    assert all(np.all(np.isfinite(g.numpy())) for g in gradients)


def test_what_compares_with_the_source_is_zero_there(kind, source, batch_of):
    value = float(kind(strength=0.1)(source.copy(), source, batch_of(source)))
    assert (value == 0) is kind.needs_source


def test_its_options_survive_being_written_down(kind):
    penalty = kind(strength=0.25)
    assert kind(**json.loads(penalty.model_dump_json())) == penalty


def test_a_negative_strength_is_refused(kind):
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        kind(strength=-0.1)


def test_it_has_no_strength_unless_given(kind):
    with pytest.raises(ValidationError, match="Field required"):
        kind()


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_goes_by_its_name(name):
    assert PENALTIES[name](strength=1).name == name


def trained(network, images, labels, penalty=None, source=None):
    phase = Phase(dict.fromkeys(network.blocks, 1.0))
    loop = TrainingLoop(network, [phase], RECIPE, penalty, source)
    curve = loop.fit(images, labels, np.random.default_rng(0))
    return network.weights(), curve


def test_training_moves_the_target_and_never_the_source(kind, small_network, images, labels):
    source = small_network.copy()
    before = source.weights()
    after, _ = trained(small_network, images, labels, kind(strength=0.1), source)
    assert all(
        value.tobytes() == before[path].tobytes() for path, value in source.weights().items()
    )
    assert any(value.tobytes() != before[path].tobytes() for path, value in after.items())


def test_no_strength_is_no_penalty_to_the_bit(kind, small_network, images, labels):
    source = small_network.copy()
    plain, plain_curve = trained(small_network, images, labels)
    small_network.assign(source.weights())
    penalised, curve = trained(small_network, images, labels, kind(strength=0.0), source)
    assert curve == plain_curve
    assert all(value.tobytes() == plain[path].tobytes() for path, value in penalised.items())
