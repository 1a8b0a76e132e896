"""What one more cell (method, budget and repeat) costs in the default study.

Both train the whole network for 200 steps of 16 from the same weights, on 10 handwritten digits
of each class, in a process that has trained one cell before. A user's loop builds, compiles and
fits a fresh Keras model per cell; graft's fine-tuning compiles its steps once.
"""

import json
import sys
import time

from benchmarks.digits import labelled_digits, source_model
from benchmarks.measuring import ROOT, Cost, Goal, alternating, options, python, report, rows_of


def main() -> None:
    """Measure and report."""
    given = options("cells", __doc__ or "", repeats=3)
    cells, steps = ("1", "4") if given.quick else ("8", "200")
    costs = alternating(
        lambda: marginal("benchmarks.cells", cells, steps),
        lambda: marginal("benchmarks.baselines.cells", cells, steps),
        given.repeats,
    )
    rows = rows_of(costs, wall=Goal(0.25), processor=Goal(0.25))
    report("cells", given, rows, other="a fresh model per cell")


def marginal(module: str, cells: str, steps: str) -> Cost:
    """Return what a cell took, by the word of the process that trained them."""
    cost = python("-m", module, cells, steps, cwd=ROOT)
    return Cost(cost.said["wall"], cost.said["processor"], cost.memory)


def train_cells(cells: int, steps: int) -> None:
    """Train one cell to warm up, then some more; print what one of these took."""
    import numpy as np

    from graft.compute.runtime import start_tensorflow
    from graft.compute.section import ComputeSection
    from graft.core.network import Network
    from graft.finetuning.finetuner import Finetuner
    from graft.finetuning.methods import Method
    from graft.strategies.full import Full
    from graft.training.loop import Recipe

    start_tensorflow(ComputeSection(threads=1))  # as the default study has it
    images, labels = labelled_digits()
    recipe = Recipe(steps=steps, batch_size=16, learning_rate=0.001, warmup_steps=steps // 10)
    finetuner = Finetuner(Network(source_model()), Method(strategy=Full()), recipe)

    def cell(number: int) -> None:
        finetuner.train(images, labels, np.random.default_rng(number))
        finetuner.network.probabilities(images)

    cell(0)
    wall, processor = time.perf_counter(), time.process_time()
    for number in range(1, cells + 1):
        cell(number)
    took = (time.perf_counter() - wall, time.process_time() - processor)
    print(json.dumps({"wall": took[0] / cells, "processor": took[1] / cells}))


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].isdigit():
        train_cells(*map(int, sys.argv[1:]))
    else:
        main()
