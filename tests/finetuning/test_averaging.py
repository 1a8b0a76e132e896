"""WiSE-FT: averages of weights, by themselves and after fine-tuning."""

import numpy as np
import pytest

from graft.finetuning.averaging import averaged
from graft.finetuning.finetuner import Finetuner
from graft.finetuning.methods import Method
from graft.fitting.head import solve_head
from graft.strategies.full import Full
from graft.strategies.lp_ft import LPFT
from graft.strategies.partial import Partial
from graft.strategies.probe import Probe
from graft.training.loop import Recipe

RECIPE = Recipe(steps=2, batch_size=8, learning_rate=0.05)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, [1, 2]), (0.25, [2, 2]), (0.5, [3, 2]), (1.0, [5, 2])]
)
def test_an_average_by_hand(share, expected):
    theta_0 = {"a": np.array([1, 2], np.float32), "frozen": np.zeros(1, np.float32)}
    result = averaged(theta_0, {"a": np.array([5, 2], np.float32)}, share)
    assert list(result) == ["a"]
    assert result["a"].dtype == np.float32
    assert result["a"].tolist() == expected


def test_weights_that_did_not_move_stay_to_the_bit():
    value = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    assert averaged({"a": value}, {"a": value}, 0.3)["a"].tobytes() == value.tobytes()


@pytest.fixture
def train(two_block_network, images, labels):
    start = two_block_network.weights()

    def run(**method):
        two_block_network.assign(start)
        finetuner = Finetuner(two_block_network, Method(**method), RECIPE)
        finetuned = finetuner.train(images, labels, np.random.default_rng(0))
        after = two_block_network.weights()
        assert all(np.array_equal(after[path], v) for path, v in finetuned.weights.items())
        return after

    return run


@pytest.mark.parametrize("strategy", [Full(), LPFT(), Partial()], ids=lambda s: s.name)
@pytest.mark.parametrize("batch_norm", ["frozen", "adapt"])
def test_it_lies_between_the_probe_and_the_fine_tuned_network(  # noqa: PLR0917
    train, two_block_network, images, labels, strategy, batch_norm
):
    theta_0 = two_block_network.weights()
    kernel, bias = solve_head(two_block_network.features(images), labels, 3, 1.0)
    theta_0 |= {"head/kernel": kernel, "head/bias": bias}
    plain = train(strategy=strategy, batch_norm=batch_norm)
    mixed = train(strategy=strategy, batch_norm=batch_norm, wise_ft=0.75)
    moved = 0
    for path, end in plain.items():
        expected = 0.25 * theta_0[path] + 0.75 * end
        np.testing.assert_allclose(mixed[path], expected, rtol=1e-4, atol=1e-6, err_msg=path)
        moved += np.any(mixed[path] != theta_0[path])
    assert moved


def test_its_ends_are_the_probe_and_plain_fine_tuning(train):
    ends = {1.0: train(strategy=Full(), batch_norm="adapt"), 0.0: train(strategy=Probe())}
    for share, expected in ends.items():
        weights = train(strategy=Full(), batch_norm="adapt", wise_ft=share)
        for path, value in weights.items():
            assert np.array_equal(value, expected[path]), (share, path)
