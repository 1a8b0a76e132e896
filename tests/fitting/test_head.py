import numpy as np
import pytest

from graft.core.errors import GraftError
from graft.fitting.head import solve_head


def problem(num_classes, count=40, width=5):
    rng = np.random.default_rng(num_classes)
    labels = np.arange(count) % num_classes
    features = rng.normal(0, 3, (count, width)) + rng.normal(0, 2, (num_classes, width))[labels]
    return features.astype(np.float32), labels


@pytest.mark.parametrize("c", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("num_classes", [2, 3, 6])
def test_the_gradient_of_the_penalised_loss_is_zero_there(num_classes, c):
    features, labels = problem(num_classes)
    kernel, bias = solve_head(features, labels, num_classes, c)
    assert (kernel.shape, bias.shape) == ((5, num_classes), (num_classes,))
    assert (kernel.dtype, bias.dtype) == (np.float32, np.float32)
    # C * sum of cross-entropies + 1/2 * ||kernel||^2 on features of root mean square 1.
    scale = np.sqrt(np.mean(features.astype(np.float64) ** 2))
    logits = features @ kernel.astype(np.float64) + bias
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    error = p / p.sum(axis=1, keepdims=True) - np.eye(num_classes)[labels]
    by_kernel = c * (features / scale).T @ error + kernel * scale
    assert np.abs(by_kernel).max() < 1e-5 * max(1, c)
    assert np.abs(c * error.sum(axis=0)).max() < 1e-5 * max(1, c)


def test_two_classes_by_hand():
    # One feature, -1 and 1: the kernel is (-v, v) with v = 2c / (1 + exp(2v)), here at c = 1.
    kernel, bias = solve_head(np.array([[-1.0], [1.0]]), np.array([0, 1]), 2, 1.0)
    v = float(kernel[0, 1])
    assert kernel[0, 0] == -kernel[0, 1]
    assert v == pytest.approx(2 / (1 + np.exp(2 * v)), abs=1e-6)
    np.testing.assert_allclose(bias, 0, atol=1e-7)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_c_means_the_same_whatever_the_scale_of_the_features(num_classes):
    features, labels = problem(num_classes)
    kernel, bias = solve_head(features, labels, num_classes, 1.0)
    larger, same = solve_head(100 * features, labels, num_classes, 1.0)
    np.testing.assert_allclose(100 * larger, kernel, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(same, bias, rtol=1e-6, atol=1e-7)


def test_features_of_zero_leave_the_kernel_at_zero():
    kernel, _ = solve_head(np.zeros((4, 3)), np.array([0, 1, 0, 1]), 2, 1.0)
    assert not np.any(kernel)


def test_the_same_problem_has_the_same_solution_to_the_bit():
    features, labels = problem(3)
    once, again = (solve_head(features, labels, 3, 1.0) for _ in range(2))
    assert [array.tobytes() for array in once] == [array.tobytes() for array in again]


def test_a_class_without_a_label_is_named():
    features, labels = problem(3)
    with pytest.raises(GraftError, match=r"classes without a label: \[1, 3\]"):
        solve_head(features[labels != 1], labels[labels != 1], 4, 1.0)
