"""The Fisher information against back-propagation by hand, and the penalty against its sum."""

import numpy as np
import pytest

from graft.networks.small_cnn import SmallCNN
from graft.penalties.base import Batch, Evidence
from graft.penalties.l2_sp_fisher import L2SPFisher


@pytest.fixture
def task(task_of, small_network):
    return task_of(SmallCNN(width=2), small_network)


@pytest.fixture
def evidence(task, small_network, images, labels):
    return Evidence(task, small_network, images, labels)


def per_example_gradients(task):
    """Return d log p(label | input) / d of the last dense layer, by hand: (n, ...) each."""
    import keras

    weights = {path: v.astype(np.float64) for path, v in task.network.weights().items()}
    layers = [task.network.model.get_layer(n).output for n in ("block3_flatten", "block3_dense")]
    below, dense = keras.Model(task.network.model.input, layers)(task.inputs, training=False)
    below, dense = below.numpy().astype(np.float64), dense.numpy().astype(np.float64)
    logits = dense @ weights["head/kernel"] + weights["head/bias"]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    by_dense = (np.eye(5)[task.labels] - p) @ weights["head/kernel"].T * (dense > 0)
    return below[:, :, None] * by_dense[:, None, :], by_dense


def test_it_is_the_mean_over_examples_of_squared_gradients(task, evidence):
    fisher = L2SPFisher(strength=1, scope="all").measure(evidence)
    kernel, bias = per_example_gradients(task)
    assert np.any(bias != 0)
    for path, gradients in (("block3_dense/kernel", kernel), ("block3_dense/bias", bias)):
        expected = np.mean(gradients**2, axis=0)
        np.testing.assert_allclose(fisher[path], expected, rtol=1e-4, atol=1e-9)
    # The square of the batch's mean gradient would be something else.
    assert not np.allclose(np.mean(bias, axis=0) ** 2, np.mean(bias**2, axis=0), rtol=0.1)


def test_it_covers_the_body_in_scope(evidence, small_network):
    body = [path for path in small_network.parameters if not path.startswith("head/")]
    assert list(L2SPFisher(strength=1, scope="all").measure(evidence)) == body
    kernels = [path for path in body if path.endswith("/kernel")]
    assert list(L2SPFisher(strength=1).measure(evidence)) == kernels


def test_so_many_examples_are_looked_at_evenly_spaced(task, evidence):
    fisher = L2SPFisher(strength=1, examples=2).measure(evidence)
    kernel, _ = per_example_gradients(task)
    expected = (kernel[0] ** 2 + kernel[13] ** 2) / 2
    np.testing.assert_allclose(fisher["block3_dense/kernel"], expected, rtol=1e-4, atol=1e-9)


def test_normalised_it_is_1_on_average(evidence):
    plain = L2SPFisher(strength=1).measure(evidence)
    normalised = L2SPFisher(strength=1, normalised=True).measure(evidence)
    everything = np.concatenate([values.ravel() for values in plain.values()])
    for path, values in normalised.items():
        np.testing.assert_allclose(values, plain[path] / everything.mean(), rtol=1e-4)


@pytest.mark.parametrize("head_strength", [None, 0.07])
def test_the_penalty_weighs_each_squared_distance(small_network, head_strength):
    source = small_network.copy()
    rng = np.random.default_rng(5)
    w0 = source.weights()
    w = {p: v + rng.normal(0, 0.1, v.shape).astype(np.float32) for p, v in w0.items()}
    small_network.assign(w)
    kernels = [path for path in w if path.endswith("/kernel")]
    fisher = {p: rng.uniform(0, 3, w[p].shape).astype(np.float32) for p in kernels}
    on_head = 0.3 if head_strength is None else head_strength
    expected = sum(
        on_head / 2 * np.sum((w[path] - w0[path]) ** 2.0)
        if path == "head/kernel"
        else 0.3 / 2 * np.sum(fisher[path] * (w[path] - w0[path]) ** 2.0)
        for path in kernels
    )
    batch = Batch(None, None, None, None, measured=fisher)
    penalty = L2SPFisher(strength=0.3, head_strength=head_strength)
    value = float(penalty(small_network, source, batch))
    assert value == pytest.approx(expected, rel=1e-5)
