import numpy as np
import pytest

from graft.core import network as module

pytestmark = pytest.mark.usefixtures("tensorflow")


@pytest.fixture
def images(small_network):
    return np.random.default_rng(0).integers(0, 256, (11, *small_network.input_shape), np.uint8)


def test_calls_and_batches_cut_the_images_and_change_nothing(small_network, images, monkeypatch):
    features, probabilities = small_network.features(images), small_network.probabilities(images)
    # Two batches of two images a call: three calls, the last with one batch and a half.
    monkeypatch.setattr(module, "_CALL_BYTES", 5 * images[0].nbytes)
    done = []
    again = small_network.features(images, 2, done.append)
    assert done == [4, 4, 3]
    np.testing.assert_allclose(again, features, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(small_network.probabilities(images, 2), probabilities, rtol=1e-5)


def test_a_batch_larger_than_a_call_is_a_call_of_its_own(small_network, images, monkeypatch):
    monkeypatch.setattr(module, "_CALL_BYTES", 1)
    done = []
    assert len(small_network.features(images, 4, done.append)) == 11
    assert done == [4, 4, 3]


def test_no_images_have_no_probabilities(small_network, images):
    assert small_network.probabilities(images[:0]).shape == (0, small_network.num_classes)
