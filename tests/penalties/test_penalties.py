"""The contract that every penalty keeps."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from graft.penalties.base import Batch, Evidence
from graft.penalties.registry import PENALTIES
from graft.strategies.base import Phase
from graft.training.loop import Recipe, TrainingLoop

RECIPE = Recipe(steps=3, batch_size=8, optimizer="sgd", learning_rate=0.05)

# Of those that look at the source, what is a distance from theta_0 is zero there.
NO_DISTANCES = {"bss", "co_tuning", "l1", "l2"}


@pytest.fixture(params=PENALTIES)
def kind(request):
    return PENALTIES[request.param]


@pytest.fixture
def source(two_block_network):
    """Return the network at theta_0: every tensor off its usual start, and a head of zeros."""
    rng = np.random.default_rng(3)
    weights = {
        path: value + rng.uniform(0.05, 0.1, value.shape).astype(np.float32)
        for path, value in two_block_network.weights().items()
    }
    two_block_network.assign(
        {p: np.zeros_like(v) if p.startswith("head/") else v for p, v in weights.items()}
    )
    return two_block_network


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
def evidence(source, two_blocks, task_of, images, labels):
    task = task_of(two_blocks, source)
    return Evidence(task, source, images, labels)


@pytest.fixture(scope="module")
def known():
    """What each penalty has measured: the evidence is the same for all tests."""
    return {}


@pytest.fixture
def batch_of(kind, known, evidence, images, labels):
    """Return the batch of the first eight images as a network and the penalty see it."""
    penalty = kind(strength=1)
    if kind not in known:
        known[kind] = penalty.measure(evidence)
    measured = known[kind]

    def batch(network):
        targets = np.eye(3, dtype=np.float32)[labels[:8]]
        names = penalty.watched(network)
        features, logits, *maps = network.watched(names)(images[:8], training=False)
        watched = dict(zip(names, maps, strict=True))
        return Batch(images[:8], targets, features, logits, watched, measured)

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


def test_a_distance_is_zero_at_the_source(kind, source, batch_of):
    penalty = kind(strength=0.1)
    value = float(penalty(source.copy(), source, batch_of(source)))
    assert (value == 0) is (penalty.name not in NO_DISTANCES)


def test_measuring_leaves_everything_as_it_was_and_gives_the_same_again(kind, source, evidence):
    networks = (source, evidence.source.network)
    before = [network.weights() for network in networks]
    first, second = (kind(strength=1).measure(evidence) for _ in range(2))
    assert bool(first) is (kind.measures != "nothing")
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.dtype == np.float32, name
        assert np.all(np.isfinite(array)), name
        assert array.tobytes() == second[name].tobytes(), name
    for network, weights in zip(networks, before, strict=True):
        for path, value in network.weights().items():
            assert value.tobytes() == weights[path].tobytes(), path


@pytest.mark.parametrize("name", [n for n, kind in PENALTIES.items() if kind.measures == "source"])
def test_what_is_measured_on_the_source_does_not_depend_on_the_labels(name, evidence):
    penalty = PENALTIES[name](strength=1)
    fewer = replace(evidence, inputs=evidence.inputs[:3], labels=evidence.labels[:3])
    one, other = penalty.measure(evidence), penalty.measure(fewer)
    assert all(np.array_equal(array, other[name]) for name, array in one.items())


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


@pytest.fixture
def trained(two_block_network, two_blocks, task_of, images, labels):
    """Return a function that trains the plain network from its start under a penalty."""
    start = two_block_network.weights()

    def train(penalty=None, source=None):
        two_block_network.assign(start)
        measured = {}
        if penalty is not None:
            task = task_of(two_blocks, source)
            measured = penalty.measure(Evidence(task, source, images, labels))
        phase = Phase(dict.fromkeys(two_block_network.blocks, 1.0))
        loop = TrainingLoop(two_block_network, [phase], RECIPE, penalty, source)
        curve = loop.fit(images, labels, np.random.default_rng(0), measured=measured)
        return two_block_network.weights(), curve

    return train


def test_training_moves_the_target_and_never_the_source(kind, two_block_network, trained):
    source = two_block_network.copy()
    before = source.weights()
    after, _ = trained(kind(strength=0.1), source)
    assert all(
        value.tobytes() == before[path].tobytes() for path, value in source.weights().items()
    )
    assert any(value.tobytes() != before[path].tobytes() for path, value in after.items())


def test_no_strength_is_no_penalty_to_the_bit(kind, two_block_network, trained):
    plain, plain_curve = trained()
    penalised, curve = trained(kind(strength=0.0), two_block_network.copy())
    assert curve == plain_curve
    assert all(value.tobytes() == plain[path].tobytes() for path, value in penalised.items())
