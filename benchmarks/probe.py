"""A probe on features that were extracted once, for the 20 cells of the default study.

The other keeps the frozen body in the loop: one compiled model for all cells, its head reset for
each and trained by Adam until it answers as many held-out digits as the solved head does, or for
2,000 steps. What it takes to look how far it has come is not counted.

The network first learns the other half of the digits, so that there is something to read.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.digits import handwritten_digits, source_model
from benchmarks.measuring import (
    ROOT,
    Cost,
    Goal,
    Row,
    alternating,
    options,
    python,
    report,
    rows_of,
)

BUDGETS = (1, 2, 5, 10)


def main() -> None:
    """Measure and report."""
    given = options("probe", __doc__ or "", repeats=2)
    repeats = "1" if given.quick else "5"
    with tempfile.TemporaryDirectory() as name:
        model, data = Path(name) / "source.keras", Path(name) / "cells.npz"
        python("-m", "benchmarks.probe", "prepare", model, data, repeats, cwd=ROOT)

        def graft() -> Cost:
            return told(python("-m", "benchmarks.probe", "solve", model, data, cwd=ROOT))

        def loop() -> Cost:
            return told(python("-m", "benchmarks.baselines.probe", model, data, cwd=ROOT))

        # What each cell of the other has to reach.
        np.save(Path(name) / "goals.npy", graft().said["accuracies"])
        costs = alternating(graft, loop, given.repeats)
    means = [[100 * float(np.mean(cost.said["accuracies"])) for cost in arm] for arm in costs]
    rows = [
        *rows_of(costs, wall=Goal(0.05), processor=Goal(0.05)),
        Row("held-out accuracy", "%", *means),
    ]
    report("probe", given, rows, other="the frozen body in the loop")


def told(cost: Cost) -> Cost:
    """Return the cost by the word of the process: without its start."""
    return Cost(cost.said["wall"], cost.said["processor"], cost.memory, cost.said)


def prepare(model: Path, data: Path, repeats: int) -> None:
    """Train the source; draw the labelled digits of each cell and the ones held out."""
    from graft.compute.runtime import start_tensorflow
    from graft.core.artifacts import save_model
    from graft.core.network import Network
    from graft.strategies.full import Full
    from graft.training.loop import Recipe, TrainingLoop

    start_tensorflow()
    images, labels = handwritten_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    source, pool, held_out = order[:900], order[900:1200], order[1200:]
    network = Network(source_model())
    recipe = Recipe(steps=200, batch_size=64, learning_rate=0.001)
    loop = TrainingLoop(network, Full().phases(network.blocks), recipe)
    # To tell pairs of digits apart: related to the target, and not the same.
    loop.fit(images[source], labels[source] // 2, rng)
    save_model(model, network.model, [str(label) for label in range(10)])
    cells = [
        np.concatenate(
            [rng.permutation(pool[labels[pool] == label])[:budget] for label in range(10)]
        )
        for budget in BUDGETS
        for _ in range(repeats)
    ]
    arrays = {f"cell{number}": rows for number, rows in enumerate(cells)}
    np.savez(data, images=images, labels=labels, held_out=held_out, **arrays)


def solve(model: Path, data: Path) -> None:
    """Extract the features of every labelled digit, then solve a head for each cell."""
    from graft.compute.runtime import start_tensorflow
    from graft.core.artifacts import load_model
    from graft.core.imports import lean_imports
    from graft.core.network import Network
    from graft.fitting.head import solve_head

    start_tensorflow()
    given = np.load(data)
    images, labels, held_out = (given[name] for name in ("images", "labels", "held_out"))
    cells = [given[name] for name in given.files if name.startswith("cell")]
    network = Network(load_model(model))
    with lean_imports():  # imports count on neither side
        import sklearn.linear_model  # noqa: F401

    wall, processor = time.perf_counter(), time.process_time()
    used = np.unique(np.concatenate(cells))
    features = np.empty((len(images), 128), np.float32)
    features[used] = network.features(images[used])
    heads = [solve_head(features[rows], labels[rows], 10, 1.0) for rows in cells]
    took = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
    seen = network.features(images[held_out])
    right = [np.mean((seen @ k + b).argmax(axis=1) == labels[held_out]) for k, b in heads]
    print(json.dumps({**took, "accuracies": list(map(float, right))}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["prepare"]:
        prepare(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1:2] == ["solve"]:
        solve(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
