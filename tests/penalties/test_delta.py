"""DELTA: its attention and its distance of feature maps, against NumPy."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from graft.core.errors import GraftError
from graft.networks.small_cnn import SmallCNN
from graft.penalties.base import Batch, Evidence
from graft.penalties.delta import Delta, attention


def outputs_of(network, names, images):
    import keras

    layers = [network.model.get_layer(name).output for name in names]
    outputs = keras.Model(network.model.input, layers)(images, training=False)
    return [np.asarray(output, np.float64) for output in outputs]


def test_attention_by_hand():
    z = np.array([-1, -1, 1, 1.0])
    weights = np.exp(z / 5) / np.sum(np.exp(z / 5))
    np.testing.assert_allclose(attention(np.array([0.2, 0.2, 0.6, 0.6])), weights, rtol=1e-6)
    np.testing.assert_allclose(attention(np.zeros(4)), np.full(4, 0.25))


def test_it_watches_the_last_convolution_of_each_block_or_all(norm_network, small_network):
    last = ("stem_conv1", "block1_conv2", "block2_conv2", "block3_conv2")
    assert Delta(strength=1).watched(norm_network) == last
    every = tuple(f"block{b}_conv{n}" for b in (1, 2) for n in (1, 2))
    assert Delta(strength=1, layers="all").watched(small_network) == every


def test_a_network_without_convolutions_is_refused(linear_network):
    with pytest.raises(GraftError, match="maps of convolutions, and this network has none"):
        Delta(strength=1).watched(linear_network)


def test_attention_is_on_the_filters_whose_loss_is_felt(task_of, small_network, images, labels):
    evidence = Evidence(task_of(SmallCNN(width=2), small_network), small_network, images, labels)
    weights = {p: v.astype(np.float64) for p, v in small_network.weights().items()}
    maps, _ = outputs_of(small_network, ["block2_conv2", "features"], images)

    def features(maps):
        pooled = maps.reshape(24, 2, 2, 2, 2, 4).max(axis=(2, 4)).reshape(24, -1)
        dense = pooled @ weights["block3_dense/kernel"] + weights["block3_dense/bias"]
        return np.maximum(dense, 0)

    known = features(maps)
    scale = np.sqrt(np.mean(known**2))
    probe = LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000).fit(known / scale, labels)

    def loss(maps):
        probabilities = probe.predict_proba(features(maps) / scale)
        return -np.mean(np.log(probabilities[np.arange(24), labels]))

    rises = []
    for channel in range(4):
        without = maps.copy()
        without[..., channel] = 0
        rises.append(loss(without) - loss(maps))
    z = (rises - np.mean(rises)) / np.std(rises)
    expected = np.exp(z / 5) / np.sum(np.exp(z / 5))
    measured = Delta(strength=1).measure(evidence)
    assert [len(weights) for weights in measured.values()] == [2, 4]
    np.testing.assert_allclose(measured["block2_conv2"], expected, rtol=1e-4)


@pytest.mark.parametrize("count", [4, 8])
def test_it_is_the_weighted_mean_distance_of_maps(small_network, images, count):
    source = small_network.copy()
    rng = np.random.default_rng(8)
    small_network.assign(
        {p: v + rng.normal(0, 0.1, v.shape) for p, v in small_network.weights().items()}
    )
    names, images = ("block1_conv2", "block2_conv2"), images[:count]
    here, there = (outputs_of(network, names, images) for network in (small_network, source))
    weights = {
        name: rng.dirichlet(np.ones(m.shape[-1])) for name, m in zip(names, here, strict=True)
    }
    expected = 0.0
    for name, one, other in zip(names, here, there, strict=True):
        _, height, width, channels = one.shape
        squares = np.sum((one - other) ** 2, axis=(1, 2))
        expected += channels / (height * width) * np.mean(squares @ weights[name])
    batch = Batch(
        images,
        None,
        None,
        None,
        {name: m.astype(np.float32) for name, m in zip(names, here, strict=True)},
        {name: values.astype(np.float32) for name, values in weights.items()},
    )
    value = float(Delta(strength=0.3)(small_network, source, batch))
    assert value == pytest.approx(0.3 / 2 * expected, rel=1e-4)
