"""L1-SP: its value, and the soft threshold after each update, against NumPy."""

import numpy as np
import pytest

from graft.penalties.l1_sp import L1SP
from graft.strategies.base import Phase
from graft.training.loop import Recipe, TrainingLoop

RECIPE = Recipe(
    steps=1, batch_size=24, optimizer="sgd", momentum=0.0, learning_rate=0.1, schedule="constant"
)


@pytest.fixture
def pair(small_network):
    """Return target and source, every tensor of both drawn anew."""
    source = small_network.copy()
    for seed, network in enumerate((small_network, source)):
        rng = np.random.default_rng(seed)
        network.assign(
            {
                path: rng.normal(0, 0.2, value.shape).astype(np.float32)
                for path, value in network.weights().items()
            }
        )
    return small_network, source


def in_scope(network, scope):
    return [p for p in network.parameters if scope == "all" or p.endswith("/kernel")]


@pytest.mark.parametrize("scope", ["kernels", "all"])
@pytest.mark.parametrize("head_strength", [None, 0.07])
def test_it_is_the_sum_of_sizes_and_half_the_heads_squares(pair, scope, head_strength):
    w, w0 = (network.weights() for network in pair)
    on_head = 0.3 if head_strength is None else head_strength
    expected = sum(
        on_head / 2 * np.sum((w[path] - w0[path]) ** 2.0)
        if path.startswith("head/")
        else 0.3 * np.sum(np.abs(w[path] - w0[path]))
        for path in in_scope(pair[0], scope)
    )
    value = L1SP(strength=0.3, scope=scope, head_strength=head_strength)(*pair, None)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_its_gradient_is_the_heads_alone(pair, tensorflow):
    target, source = pair
    weights = {path: variable.value for path, variable in target.parameters.items()}
    with tensorflow.GradientTape() as tape:
        value = L1SP(strength=0.3)(target, source, None)
    gradients = {p: g for p, g in tape.gradient(value, weights).items() if g is not None}
    assert list(gradients) == ["head/kernel"]
    expected = 0.3 * (weights["head/kernel"].numpy() - source.weights()["head/kernel"])
    np.testing.assert_allclose(gradients["head/kernel"].numpy(), expected, rtol=1e-5)


def test_the_soft_threshold_by_hand(tensorflow):
    origin = tensorflow.constant([1.0, 1.0, 1.0, 1.0, -2.0])
    weight = tensorflow.constant([1.5, 0.5, 1.1, 0.95, -2.0])
    penalty = L1SP(strength=2.0)
    moved = penalty.proximal("block1_conv1/kernel", weight, origin, tensorflow.constant(0.1))
    np.testing.assert_allclose(moved.numpy(), [1.3, 0.7, 1.0, 1.0, -2.0], rtol=1e-6)
    assert moved.numpy()[2:].tolist() == [1.0, 1.0, -2.0]


@pytest.mark.parametrize(
    ("path", "scope", "moves"),
    [
        ("block1_conv1/kernel", "kernels", True),
        ("block1_conv1/bias", "kernels", False),
        ("block1_conv1/bias", "all", True),
        ("head/kernel", "all", False),
    ],
)
def test_the_threshold_is_for_the_body_in_scope(tensorflow, path, scope, moves):
    weight = tensorflow.constant([1.0])
    moved = L1SP(strength=1.0, scope=scope).proximal(path, weight, weight - 1, 0.5)
    assert (moved is not weight) is moves


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_a_step_is_that_of_plain_training_then_thresholded(pair, images, labels, factor):
    target, source = pair
    start = target.weights()
    phase = Phase({block: 1.0 if block == "head" else factor for block in target.blocks})

    def step(penalty):
        target.assign(start)
        TrainingLoop(target, [phase], RECIPE, penalty, source).fit(
            images, labels, np.random.default_rng(0)
        )
        return target.weights()

    plain = step(None)
    after = step(L1SP(strength=1.5, head_strength=0.0))
    threshold, w0 = 0.1 * factor * 1.5, source.weights()
    zeros = 0
    for path, expected in plain.items():
        value = expected
        if path.endswith("/kernel") and not path.startswith("head/"):
            distance = expected - w0[path]
            value = w0[path] + np.sign(distance) * np.maximum(np.abs(distance) - threshold, 0)
            assert np.all((np.abs(distance) < threshold) <= (after[path] == w0[path])), path
            zeros += np.sum(after[path] == w0[path])
        np.testing.assert_allclose(after[path], value, rtol=1e-4, atol=1e-6)
    assert zeros > 0


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_great_strength_leaves_the_body_at_the_source_exactly(pair, images, labels, optimizer):
    target, source = pair
    phase = Phase(dict.fromkeys(target.blocks, 1.0))
    recipe = RECIPE.model_copy(update={"optimizer": optimizer, "steps": 3})
    penalty = L1SP(strength=100.0, head_strength=0.0, scope="all")
    loop = TrainingLoop(target, [phase], recipe, penalty, source)
    loop.fit(images, labels, np.random.default_rng(0))
    w0 = source.weights()
    for path, value in target.weights().items():
        assert np.array_equal(value, w0[path]) is not path.startswith("head/"), path
