"""L1, L2 and L2-SP against sums worked out in NumPy."""

import numpy as np
import pytest

from graft.penalties.l1 import L1
from graft.penalties.l2 import L2
from graft.penalties.l2_sp import L2SP

KERNELS = (
    "stem_conv1",
    *(f"block1_conv{n}" for n in (1, 2)),
    *(f"block{b}_conv{n}" for b in (2, 3) for n in (1, 2, "shortcut")),
    "head",
)
NORMS = tuple(name.replace("_conv", "_bn") for name in KERNELS if name != "head")
SCOPES = {
    "kernels": [f"{name}/kernel" for name in KERNELS],
    "all": [
        *(f"{name}/kernel" for name in KERNELS),
        *(f"{name}/{part}" for name in NORMS for part in ("gamma", "beta")),
        "head/bias",
    ],
}


@pytest.fixture
def pair(norm_network):
    """Return target and source, every tensor of both drawn anew."""
    source = norm_network.copy()
    for seed, network in enumerate((norm_network, source)):
        rng = np.random.default_rng(seed)
        network.assign(
            {
                path: rng.normal(0.1, 1, value.shape).astype(np.float32)
                for path, value in network.weights().items()
            }
        )
    return norm_network, source


def flat(network, paths):
    weights = network.weights()
    return np.concatenate([weights[path].ravel().astype(np.float64) for path in paths])


def of(penalty, target, source):
    """Return a penalty that looks at no batch."""
    return float(penalty(target, source, None))


@pytest.mark.parametrize("scope", SCOPES)
def test_l1_is_the_sum_of_sizes(pair, scope):
    w = flat(pair[0], SCOPES[scope])
    expected = 0.3 * np.sum(np.abs(w))
    assert of(L1(strength=0.3, scope=scope), *pair) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scope", SCOPES)
def test_l2_is_half_the_sum_of_squares(pair, scope):
    w = flat(pair[0], SCOPES[scope])
    expected = 0.3 / 2 * np.sum(w**2)
    assert of(L2(strength=0.3, scope=scope), *pair) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("head_strength", [None, 0.0, 0.07])
def test_l2_sp_is_half_the_squared_distance_from_the_source(pair, scope, head_strength):
    body = [path for path in SCOPES[scope] if not path.startswith("head/")]
    head = [path for path in SCOPES[scope] if path.startswith("head/")]
    on_head = 0.3 if head_strength is None else head_strength
    expected = 0.3 / 2 * np.sum((flat(pair[0], body) - flat(pair[1], body)) ** 2)
    expected += on_head / 2 * np.sum((flat(pair[0], head) - flat(pair[1], head)) ** 2)
    penalty = L2SP(strength=0.3, head_strength=head_strength, scope=scope)
    assert of(penalty, *pair) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("penalty", "value"),
    [
        (L1(strength=0.5), 0.5 * (3 + 2)),
        (L1(strength=0.5, scope="all"), 0.5 * (3 + 2 + 4)),
        (L2(strength=0.5), 0.25 * (9 + 4)),
        (L2(strength=0.5, scope="all"), 0.25 * (9 + 4 + 16)),
        (L2SP(strength=0.5), 0.25 * ((-3 - 1) ** 2 + 2**2)),
        (L2SP(strength=0.5, scope="all"), 0.25 * (16 + 4 + 16)),
        (L2SP(strength=0.5, head_strength=0.1), 0.25 * 16 + 0.05 * 4),
        (L2SP(strength=0.5, head_strength=0.0), 0.25 * 16),
    ],
    ids=str,
)
def test_two_weights_and_a_bias_by_hand(small_network, penalty, value):
    source = small_network.copy()
    zeros = {path: np.zeros_like(tensor) for path, tensor in source.weights().items()}
    for network, body in ((small_network, -3), (source, 1)):
        network.assign(zeros)
        kernel = zeros["block1_conv1/kernel"].copy()
        kernel[0, 1, 0, 1] = body
        network.assign({"block1_conv1/kernel": kernel})
    head, bias = zeros["head/kernel"].copy(), zeros["head/bias"].copy()
    head[2, 1], bias[0] = 2, -4
    small_network.assign({"head/kernel": head, "head/bias": bias})
    assert of(penalty, small_network, source) == pytest.approx(value, rel=1e-6)


def test_l2_sp_pulls_straight_towards_the_source(pair, tensorflow):
    target, source = pair
    weights = {path: variable.value for path, variable in target.parameters.items()}
    with tensorflow.GradientTape() as tape:
        value = L2SP(strength=0.3)(target, source, None)
    gradients = tape.gradient(value, weights)
    before = source.weights()
    for path, gradient in gradients.items():
        if path in SCOPES["kernels"]:
            expected = 0.3 * (weights[path].numpy() - before[path])
            np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-5, atol=1e-7)
        else:
            assert gradient is None, path


def test_only_l2_sp_needs_a_source():
    assert (L1.needs_source, L2.needs_source, L2SP.needs_source) == (False, False, True)
