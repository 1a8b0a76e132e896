"""Training on the source task, with what its validation split says along the way."""

from typing import Any

import numpy as np

from graft.compute.section import Precision
from graft.core.network import Network
from graft.core.prepared import Split
from graft.core.progress import progress
from graft.strategies.base import Phase
from graft.training.checkpoints import Checkpoint
from graft.training.loop import Recipe, TrainingLoop

CURVE_POINTS = 10


def train_source(
    network: Network,
    train: Split,
    validation: Split,
    recipe: Recipe,
    rng: np.random.Generator,
    *,
    checkpoint: Checkpoint | None = None,
    precision: Precision = "float32",
) -> tuple[dict[str, Any], list[tuple[int, float, float]]]:
    """Train every weight of `network`, in place, from its present weights.

    Nothing is chosen on the validation split: it is shown, that is all.

    Parameters
    ----------
    checkpoint
        Where the state of the training is saved every so often, and from which it goes on.

    Returns
    -------
    tuple
        Metrics by name, and the learning curve as (step, mean loss since the last point,
        validation accuracy).
    """
    loop = TrainingLoop(
        network, (Phase(dict.fromkeys(network.blocks, 1.0)),), recipe, precision=precision
    )
    training = (checkpoint or Checkpoint()).training("training")
    shown = training.noted
    interval = max(1, recipe.steps // CURVE_POINTS)
    with progress("training the source", recipe.steps) as advance:
        done = training.step
        advance(done)

        def on_steps(step: int) -> None:
            nonlocal done
            advance(step - done)
            if step // interval > done // interval or step == recipe.steps:
                shown[step] = _accuracy(network, validation)
            done = step

        losses = loop.fit(train.inputs, train.labels, rng, on_steps, training=training)
    curve = _averaged(losses, shown)
    metrics = {
        "steps": recipe.steps,
        "loss": curve[-1][1],
        "train_examples": len(train.labels),
        "validation_examples": len(validation.labels),
        "validation_accuracy": curve[-1][2],
    }
    return metrics, curve


def _accuracy(network: Network, split: Split) -> float:
    predicted = network.probabilities(split.inputs).argmax(axis=1)
    return float(np.mean(predicted == split.labels))


def _averaged(
    losses: list[tuple[int, float]], shown: dict[int, float]
) -> list[tuple[int, float, float]]:
    """Join the losses since the last point with the accuracy at each point."""
    points = []
    pending: list[float] = []
    before = start = 0
    for step, loss in losses:
        pending.append(loss * (step - before))
        before = step
        if step in shown:
            points.append((step, sum(pending) / (step - start), shown[step]))
            pending, start = [], step
    return points
