import numpy as np
import pytest
from pydantic import ValidationError

from graft.finetuning.finetuner import Finetuner
from graft.finetuning.methods import Method
from graft.fitting.head import solve_head
from graft.strategies.base import Phase
from graft.strategies.lp_ft import LPFT
from graft.training.loop import Recipe

RECIPE = Recipe(
    steps=1, batch_size=24, optimizer="sgd", momentum=0.0, learning_rate=0.5, schedule="constant"
)


def test_everything_trains_at_a_lower_rate_after_the_head_is_solved():
    strategy = LPFT(c=2.0, rate=0.25)
    assert strategy.phases(("block1", "head")) == (Phase({"block1": 0.25, "head": 0.25}),)
    assert (strategy.start, strategy.solved_head) == ("source", 2.0)
    assert (LPFT().rate, LPFT().solved_head) == (0.1, 1.0)


@pytest.mark.parametrize("given", [{"rate": 0.0}, {"rate": 1.5}, {"c": 0.0}], ids=str)
def test_rates_outside_0_to_1_are_refused(given):
    with pytest.raises(ValidationError):
        LPFT(**given)


def test_the_first_step_starts_from_the_probes_head(small_network, images, labels):
    kernel, bias = solve_head(small_network.features(images), labels, 3, 1.0)
    features = small_network.features(images).astype(np.float64)
    logits = features @ kernel + bias
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    by_logits = (p - np.eye(3)[labels]) / 24
    trained = Finetuner(small_network, Method(strategy=LPFT(rate=0.2)), RECIPE).train(
        images, labels, np.random.default_rng(0)
    )
    stepped = kernel - 0.5 * 0.2 * features.T @ by_logits
    np.testing.assert_allclose(trained.weights["head/kernel"], stepped, rtol=1e-4, atol=1e-6)
    stepped = bias - 0.5 * 0.2 * by_logits.sum(axis=0)
    np.testing.assert_allclose(trained.weights["head/bias"], stepped, rtol=1e-4, atol=1e-6)
    assert trained.weights.keys() == small_network.tensors.keys()
