"""BSS against NumPy's singular values."""

import numpy as np
import pytest

from graft.core.errors import GraftError
from graft.penalties.base import Batch
from graft.penalties.bss import BSS
from graft.strategies.full import Full
from graft.training.loop import Recipe, TrainingLoop

pytestmark = pytest.mark.usefixtures("tensorflow")


def of(features, **options):
    batch = Batch(None, None, np.asarray(features, np.float32), None)
    return float(BSS(**options)(None, None, batch))


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("shape", [(5, 8), (8, 5)], ids=str)
def test_it_is_the_sum_of_the_smallest_squared_singular_values(shape, k):
    features = np.random.default_rng(1).normal(size=shape)
    smallest = np.sort(np.linalg.svd(features, compute_uv=False))[:k]
    assert of(features, strength=0.2, k=k) == pytest.approx(0.2 * np.sum(smallest**2), rel=1e-4)


def test_a_diagonal_by_hand():
    assert of(np.diag([3.0, 1.0, 2.0]), strength=10) == pytest.approx(10 * 1)
    assert of(np.diag([3.0, 1.0, 2.0]), strength=10, k=2) == pytest.approx(10 * (1 + 4))


def test_an_example_shown_twice_leaves_nothing():
    features = np.random.default_rng(1).normal(size=(4, 8))
    assert of(features[[0, 1, 2, 3, 3]], strength=1.0) == pytest.approx(0, abs=1e-10)


def test_the_gradient_goes_along_the_smallest_direction(tensorflow):
    features = np.random.default_rng(2).normal(size=(4, 6))
    u, s, v = np.linalg.svd(features, full_matrices=False)
    variable = tensorflow.Variable(features.astype(np.float32))
    with tensorflow.GradientTape() as tape:
        value = BSS(strength=0.5)(None, None, Batch(None, None, variable, None))
    expected = 0.5 * 2 * s[-1] * np.outer(u[:, -1], v[-1])
    np.testing.assert_allclose(tape.gradient(value, variable), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("k", "batch_size"), [(1, 1), (3, 3)])
def test_batches_that_are_too_small_are_refused(small_network, k, batch_size):
    recipe = Recipe(steps=1, batch_size=batch_size, learning_rate=0.1)
    phases = Full().phases(small_network.blocks)
    message = f"'bss': received batches of {batch_size}; expected a batch_size of at least {k + 1}"
    with pytest.raises(GraftError, match=message):
        TrainingLoop(small_network, phases, recipe, BSS(strength=1, k=k), small_network)
