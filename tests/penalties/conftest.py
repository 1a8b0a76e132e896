"""The source task that penalties measure: other classes, sizes and colours than the target's."""

import numpy as np
import pytest

from graft.penalties.base import SourceTask


@pytest.fixture
def task_of(tensorflow):
    """Return a function that makes a source task whose body is that of a target network."""

    def task(architecture, body):
        rng = np.random.default_rng(11)
        network = architecture.build((9, 10, 3), 5, seed=2)
        own = {p: v for p, v in body.weights().items() if not p.startswith("head/")}
        head = {
            "head/kernel": rng.normal(0, 1, network.tensors["head/kernel"].shape),
            "head/bias": rng.normal(0, 0.5, 5),
        }
        network.assign({**own, **{p: v.astype(np.float32) for p, v in head.items()}})
        inputs = rng.integers(0, 256, (20, 9, 10, 3), np.uint8)
        labels = (np.arange(20) % 5).astype(np.int32)
        return SourceTask(network, inputs[:14], labels[:14], inputs[14:], labels[14:])

    return task
