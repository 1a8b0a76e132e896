import numpy as np
import pytest

from graft.fitting.temperature import fit_temperature, log_probabilities, scaled
from graft.scores.log_loss import log_loss

# Always sure by ln 9, that is, of 90 %, and right in three of four.
LOGITS = np.log(9) * np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
LABELS = np.array([0, 0, 1, 0], np.int32)
PROBABILITIES = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]], np.float32)


def test_a_temperature_by_hand():
    # sigmoid(ln 9 / T) = 3/4 for T = 2.
    assert fit_temperature(LOGITS, LABELS) == pytest.approx(2, rel=1e-4)


def test_logarithms_of_probabilities_are_logits():
    found = fit_temperature(log_probabilities(PROBABILITIES), LABELS)
    assert found == pytest.approx(2, rel=1e-4)


def test_three_classes_against_a_fine_grid():
    rng = np.random.default_rng(0)
    logits = 4 * rng.normal(size=(60, 3))
    labels = np.where(rng.random(60) < 0.7, logits.argmax(axis=1), rng.integers(3, size=60))
    temperatures = np.exp(np.linspace(np.log(0.05), np.log(20), 20_001))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    losses = [log_loss(scaled(p, t), labels) for t in temperatures[::100]]
    found = fit_temperature(logits, labels)
    assert log_loss(scaled(p, found), labels) <= min(losses)
    assert found == pytest.approx(temperatures[::100][np.argmin(losses)], rel=0.04)


def test_one_that_is_always_right_ends_near_the_lower_bound():
    assert 0.05 <= fit_temperature(LOGITS, LOGITS.argmax(axis=1)) < 0.1


def test_one_that_is_always_wrong_ends_at_the_upper_bound():
    assert fit_temperature(LOGITS, LOGITS.argmin(axis=1)) == pytest.approx(20, rel=1e-3)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    # Odds of 9 to 1 become 9 ** (1 / T) to 1.
    [(1.0, 0.9), (2.0, 0.75), (0.5, 81 / 82), (20.0, 9**0.05 / (1 + 9**0.05))],
)
def test_probabilities_are_scaled_by_hand(temperature, expected):
    after = scaled(PROBABILITIES, temperature)
    assert after.dtype == np.float64
    np.testing.assert_allclose(after.max(axis=1), expected, rtol=1e-6)
    np.testing.assert_allclose(after.sum(axis=1), 1, rtol=1e-12)
    assert np.array_equal(after.argmax(axis=1), PROBABILITIES.argmax(axis=1))


def test_a_probability_of_zero_gives_no_nan():
    for temperature in (0.05, 1.0, 20.0):
        after = scaled(np.array([[1.0, 0.0, 0.0]], np.float32), temperature)
        assert np.all(np.isfinite(after))
        assert after[0, 1] == after[0, 2] < after[0, 0]
