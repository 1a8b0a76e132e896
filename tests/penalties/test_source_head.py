"""LwF and Co-Tuning, which let the source's head read the target's features, against NumPy."""

import numpy as np
import pytest

from graft.networks.small_cnn import SmallCNN
from graft.penalties.base import Batch, Evidence
from graft.penalties.co_tuning import CoTuning
from graft.penalties.lwf import LwF


@pytest.fixture
def evidence(task_of, small_network, images, labels):
    task = task_of(SmallCNN(width=2), small_network)
    return Evidence(task, small_network.copy(), images, labels)


@pytest.fixture
def moved(evidence, small_network):
    """Return the target network away from theta_0."""
    rng = np.random.default_rng(6)
    small_network.assign(
        {p: v + rng.normal(0, 0.1, v.shape) for p, v in small_network.weights().items()}
    )
    return small_network


def batch_of(network, images, labels, measured):
    targets = np.eye(3, dtype=np.float32)[labels]
    return Batch(images, targets, *network.outputs(images, training=False), measured=measured)


def softmax(logits):
    exponentials = np.exp(np.asarray(logits, np.float64))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_lwf_and_co_tuning_measure_the_sources_head(evidence):
    weights = evidence.source.network.weights()
    for penalty in (LwF(strength=1), CoTuning(strength=1)):
        measured = penalty.measure(evidence)
        assert np.array_equal(measured["kernel"], weights["head/kernel"])
        assert np.array_equal(measured["bias"], weights["head/bias"])


@pytest.mark.parametrize(("count", "temperature"), [(4, 1.0), (8, 1.0), (4, 3.0), (8, 3.0)])
def test_lwf_is_the_mean_divergence_of_softened_answers(  # noqa: PLR0917
    evidence, moved, images, labels, count, temperature
):
    penalty = LwF(strength=4, temperature=temperature)
    measured = penalty.measure(evidence)
    images, labels = images[:count], labels[:count]
    p0, p = (
        softmax((n.features(images) @ measured["kernel"] + measured["bias"]) / temperature)
        for n in (evidence.theta_0, moved)
    )
    expected = 4 * temperature**2 * np.mean(np.sum(p0 * np.log(p0 / p), axis=1))
    batch = batch_of(moved, images, labels, measured)
    assert float(penalty(moved, evidence.theta_0, batch)) == pytest.approx(expected, rel=1e-4)


def test_lwf_of_two_answers_by_hand(small_network, images):
    # Features of zero leave the bias alone: the answers are softmax([ln 3, 0]) in both places.
    zeros = {path: np.zeros_like(v) for path, v in small_network.weights().items()}
    source = small_network.copy()
    source.assign(zeros)
    kernel = np.zeros((8, 2), np.float32)
    kernel[0] = [1, 0]
    measured = {"kernel": kernel, "bias": np.array([np.log(3), 0], np.float32)}
    features = np.zeros((1, 8), np.float32)
    features[0, 0] = -np.log(3)
    batch = Batch(images[:1], None, features, None, measured=measured)
    # p0 = (3/4, 1/4), p = (1/2, 1/2).
    expected = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    value = LwF(strength=1, temperature=1.0)(small_network, source, batch)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_the_relation_is_the_mean_calibrated_answer_per_class(evidence, images, labels):
    measured = CoTuning(strength=1).measure(evidence)
    task, kernel, bias = evidence.source, measured["kernel"], measured["bias"]
    logits = (task.network.features(task.validation_inputs) @ kernel + bias).astype(np.float64)
    temperatures = np.exp(np.linspace(np.log(0.05), np.log(20), 20001))
    rows = np.arange(len(logits))
    losses = [
        -np.mean(np.log(softmax(logits / t)[rows, task.validation_labels])) for t in temperatures
    ]
    best = temperatures[np.argmin(losses)]
    answers = softmax((evidence.theta_0.features(images) @ kernel + bias) / best)
    expected = [answers[labels == label].mean(axis=0) for label in range(3)]
    assert measured["relation"].shape == (3, 5)
    np.testing.assert_allclose(measured["relation"], expected, rtol=2e-3)
    np.testing.assert_allclose(measured["relation"].sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("count", [4, 8])
def test_co_tuning_is_the_mean_cross_entropy_with_what_a_label_implies(
    evidence, moved, images, labels, count
):
    penalty = CoTuning(strength=2.3)
    measured = penalty.measure(evidence)
    images, labels = images[:count], labels[:count]
    q = softmax(moved.features(images) @ measured["kernel"] + measured["bias"])
    expected = 2.3 * np.mean(-np.sum(measured["relation"][labels] * np.log(q), axis=1))
    batch = batch_of(moved, images, labels, measured)
    assert float(penalty(moved, evidence.theta_0, batch)) == pytest.approx(expected, rel=1e-4)
