import contextlib

import numpy as np
import pytest

from graft.core.prepared import Split
from graft.strategies.full import Full
from graft.training import source
from graft.training.checkpoints import Training
from graft.training.loop import Recipe, TrainingLoop
from graft.training.source import train_source


def test_the_curve_shows_loss_and_accuracy_along_the_way(linear_network, tensorflow, monkeypatch):
    monkeypatch.setattr(source, "CURVE_POINTS", 2)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (12, 4, 4, 1), np.uint8), np.arange(12) % 3
    recipe = Recipe(steps=110, batch_size=4, learning_rate=0.01)
    start = linear_network.weights()
    loop = TrainingLoop(linear_network, Full().phases(linear_network.blocks), recipe)
    losses = dict(loop.fit(images, labels, np.random.default_rng(1)))
    trained = linear_network.weights()

    linear_network.assign(start)
    train, validation = Split(images, labels), Split(images[:6], labels[:6])
    metrics, curve = train_source(
        linear_network, train, validation, recipe, np.random.default_rng(1)
    )
    # A point after each half, 55 steps, at the next call's end, and one at the end.
    assert [step for step, *_ in curve] == [75, 110]
    first = (losses[25] + losses[50] + losses[75]) / 3
    second = (25 * losses[100] + 10 * losses[110]) / 35
    assert [loss for _, loss, _ in curve] == pytest.approx([first, second], rel=1e-6)
    predicted = linear_network.probabilities(images[:6]).argmax(axis=1)
    assert curve[-1][2] == np.mean(predicted == labels[:6])
    assert metrics == {
        "steps": 110,
        "loss": curve[-1][1],
        "train_examples": 12,
        "validation_examples": 6,
        "validation_accuracy": curve[-1][2],
    }
    for path, value in linear_network.weights().items():
        assert value.tobytes() == trained[path].tobytes(), path


class KilledError(Exception):
    """What ends a training early."""


@pytest.mark.parametrize("killed_after", [50, 75])
def test_an_interrupted_training_has_the_same_curve(  # noqa: PLR0917 - fixtures
    linear_network, images, labels, always_saved, monkeypatch, killed_after
):
    """The points of the curve lie at steps 50, 100 and 125: killed on one, and between two."""
    monkeypatch.setattr(source, "CURVE_POINTS", 3)
    recipe = Recipe(steps=125, batch_size=4, learning_rate=0.01)
    start = linear_network.weights()
    small = np.ascontiguousarray(images[:, :4, :4])
    train, validation = Split(small, labels), Split(small[:6], labels[:6])

    def trained(checkpoint=None):
        linear_network.assign(start)
        rng = np.random.default_rng(1)
        return train_source(linear_network, train, validation, recipe, rng, checkpoint=checkpoint)

    unbroken = trained()
    weights = linear_network.weights()
    call = Training.save

    def save_and_die(self, step, state):
        call(self, step, state)
        if step == killed_after:
            raise KilledError

    with monkeypatch.context() as patch, contextlib.suppress(KilledError):
        patch.setattr(Training, "save", save_and_die)
        trained(always_saved)
    assert always_saved.training("training").step == killed_after
    assert trained(always_saved) == unbroken
    for path, value in linear_network.weights().items():
        assert value.tobytes() == weights[path].tobytes(), path
