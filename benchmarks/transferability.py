"""Time every transferability score, alone and with nulls and intervals.

python -m benchmarks.transferability [EXAMPLES] [FEATURES] [CLASSES]
"""

import sys
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from graft.transferability.appraisal import appraise
from graft.transferability.registry import SCORES
from graft.transferability.representation import Representation


def main(examples: int = 1000, features: int = 512, classes: int = 10) -> None:
    """Print wall and processor seconds, the fastest of three runs."""
    rng = np.random.default_rng(0)
    labels = np.arange(examples) % classes
    means = 0.3 * rng.standard_normal((classes, features))
    values = np.maximum(rng.standard_normal((examples, features)) + means[labels], 0)
    odds = np.exp(rng.standard_normal((examples, classes)) + 2 * np.eye(classes)[labels])
    given = np.float32(values), odds / odds.sum(axis=1, keepdims=True)

    def alone() -> None:
        representation = Representation(*given)
        with threadpool_limits(1):
            for score in SCORES.values():
                score.compute(representation, labels)

    def in_full() -> None:
        appraise(Representation(*given), labels, seed=0)

    print(f"{examples} examples, {features} features, {classes} classes, {len(SCORES)} scores")
    report("values alone", alone)
    report("with 20 permutations and intervals from 20 groups", in_full)


def report(name: str, run: Callable[[], None]) -> None:
    """Print one line."""
    timings = []
    for _ in range(3):
        wall, processor = time.perf_counter(), time.process_time()
        run()
        timings.append((time.perf_counter() - wall, time.process_time() - processor))
    wall, processor = min(timings)
    print(f"{name}: {wall:.2f} s, {processor:.2f} s of processor time")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
