import numpy as np
import pytest

from graft.training.losses import LOSSES

LN2, LN3 = np.log(2), np.log(3)


@pytest.mark.parametrize(
    ("name", "targets", "logits", "expected"),
    [
        ("cross_entropy", [[1, 0]], [[0, 0]], LN2),
        ("cross_entropy", [[1, 0], [0, 1]], [[0, 0], [LN3, 0]], (LN2 + np.log(4)) / 2),
        ("cross_entropy", [[0, 1, 0]], [[5, 5, 5]], LN3),
        ("cross_entropy", [[1, 0]], [[-1000, 1000]], 2000),
        ("mean_squared_error", [[1, 0]], [[0, 0]], 0.25),
        ("mean_squared_error", [[1, 0], [0, 1]], [[0, 0], [LN3, 0]], (0.25 + 0.75**2) / 2),
        ("mean_squared_error", [[0, 1, 0]], [[5, 5, 5]], (1 + 4 + 1) / 27),
        ("mean_squared_error", [[1, 0]], [[-1000, 1000]], 1),
    ],
)
def test_a_loss_is_the_mean_over_the_batch(tensorflow, name, targets, logits, expected):
    arrays = (tensorflow.constant(values, tensorflow.float32) for values in (targets, logits))
    assert float(LOSSES[name](*arrays)) == pytest.approx(expected, rel=1e-6)
