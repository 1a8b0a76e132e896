import numpy as np
import pytest

from graft.training.schedules import rates

HALF = np.sqrt(0.5)


@pytest.mark.parametrize(
    ("schedule", "steps", "warmup_steps", "expected"),
    [
        ("constant", 3, 0, [1, 1, 1]),
        ("constant", 5, 4, [0.25, 0.5, 0.75, 1, 1]),
        ("cosine", 4, 0, [1, (1 + HALF) / 2, 0.5, (1 - HALF) / 2]),
        ("cosine", 6, 2, [0.5, 1, 1, (1 + HALF) / 2, 0.5, (1 - HALF) / 2]),
        ("cosine", 1, 0, [1]),
        ("staircase", 10, 0, [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]),
        ("staircase", 5, 2, [0.5, 1, 0.1, 0.01, 0.001]),
        ("cosine", 2, 4, [0.25, 0.5]),
    ],
)
def test_every_step_has_its_rate(schedule, steps, warmup_steps, expected):
    result = rates(schedule, steps, warmup_steps)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_the_rule_of_big_transfer_divides_at_200_300_and_400_of_500():
    result = rates("staircase", 500, 100)
    assert [float(result[step]) for step in (99, 199, 200, 299, 300, 399, 400, 499)] == (
        pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    )
