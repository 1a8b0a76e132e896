"""Every penalty in double precision against NumPy: nothing but the formula is left to differ."""

import numpy as np
import pytest

from graft.penalties.base import Batch
from graft.penalties.registry import PENALTIES

STRENGTH = 0.3


class Case:
    """A network of `two_blocks` in float64, moved away from theta_0, and a batch of 8 images."""

    def __init__(self, architecture, images, labels):
        import keras

        keras.config.set_floatx("float64")
        # Keras fixes its policy when the first layer of a process asks for it.
        keras.config.set_dtype_policy("float64")
        try:
            self.source = architecture.build((8, 8, 1), 3, seed=1)
            self.target = architecture.build((8, 8, 1), 3, seed=1)
        finally:
            keras.config.set_floatx("float32")
            keras.config.set_dtype_policy("float32")
        rng = np.random.default_rng(4)
        moved = {p: v + rng.normal(0, 0.1, v.shape) for p, v in self.source.weights().items()}
        self.target.assign(moved)
        self.w0, self.w = self.source.weights(), self.target.weights()
        assert {value.dtype for value in self.w.values()} == {np.dtype(np.float64)}
        self.images, self.labels = images[:8], labels[:8]
        kernels = {path: v.shape for path, v in self.w.items() if path.endswith("/kernel")}
        self.head = {"kernel": rng.normal(size=(3, 5)), "bias": rng.normal(size=5)}
        self.relation = rng.dirichlet(np.ones(5), 3)
        self.fisher = {path: rng.uniform(0, 3, shape) for path, shape in kernels.items()}
        self.attention = {"block1_conv": rng.dirichlet(np.ones(2))}
        self.features, self.map = self.read(self.target)
        self.features_0, self.map_0 = self.read(self.source)

    def read(self, network):
        features, _, maps = network.watched(["block1_conv"])(self.images, training=False)
        return np.asarray(features), np.asarray(maps)

    def value(self, penalty):
        measured = {**self.head, **self.fisher, **self.attention, "relation": self.relation}
        targets = np.eye(3)[self.labels]
        maps = {"block1_conv": self.map}
        batch = Batch(self.images, targets, self.features, None, maps, measured)
        return float(penalty(self.target, self.source, batch))

    def total(self, of_weight):
        return sum(of_weight(path) for path in self.fisher)

    def answers(self, features, temperature=1.0):
        logits = (features @ self.head["kernel"] + self.head["bias"]) / temperature
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.fixture
def case(two_blocks, images, labels):
    return Case(two_blocks, images, labels)


def l1(case):
    return STRENGTH * case.total(lambda path: np.abs(case.w[path]).sum())


def l2(case):
    return STRENGTH / 2 * case.total(lambda path: (case.w[path] ** 2).sum())


def l1_sp(case):
    def of(path):
        distance = case.w[path] - case.w0[path]
        return (distance**2).sum() / 2 if path == "head/kernel" else np.abs(distance).sum()

    return STRENGTH * case.total(of)


def l2_sp(case):
    return STRENGTH / 2 * case.total(lambda path: ((case.w[path] - case.w0[path]) ** 2).sum())


def l2_sp_fisher(case):
    def of(path):
        fisher = 1.0 if path == "head/kernel" else case.fisher[path]
        return (fisher * (case.w[path] - case.w0[path]) ** 2).sum()

    return STRENGTH / 2 * case.total(of)


def delta(case):
    _, height, width, channels = case.map.shape
    squares = ((case.map - case.map_0) ** 2).sum(axis=(1, 2))
    weighted = (squares @ case.attention["block1_conv"]).mean()
    return STRENGTH / 2 * channels / (height * width) * weighted


def bss(case):
    return STRENGTH * np.linalg.svd(case.features, compute_uv=False)[-1] ** 2


def co_tuning(case):
    logs = np.log(case.answers(case.features))
    return STRENGTH * -(case.relation[case.labels] * logs).sum(axis=1).mean()


def lwf(case):
    before, after = (case.answers(each, 3.0) for each in (case.features_0, case.features))
    divergence = (before * np.log(before / after)).sum(axis=1).mean()
    return STRENGTH * 9 * divergence


EXPECTED = {
    "bss": bss,
    "co_tuning": co_tuning,
    "delta": delta,
    "l1": l1,
    "l1_sp": l1_sp,
    "l2": l2,
    "l2_sp": l2_sp,
    "l2_sp_fisher": l2_sp_fisher,
    "lwf": lwf,
}


def test_every_penalty_is_here():
    assert list(EXPECTED) == list(PENALTIES)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_penalty_is_its_formula(case, name):
    wanted = EXPECTED[name](case)
    assert wanted > 0
    assert case.value(PENALTIES[name](strength=STRENGTH)) == pytest.approx(wanted, rel=1e-6)
