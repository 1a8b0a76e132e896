"""Every transferability score with its nulls and intervals, against the values alone.

graft's side is what the stage `transfer` does with 1,000 labelled examples, 512 features and 10
classes: each score, 20 permutations of the labels, and an interval from 20 groups. The other is
each score, once.
"""

import json
import sys
import time

from benchmarks.measuring import ROOT, Cost, alternating, options, python, report, rows_of


def main() -> None:
    """Measure and report."""
    given = options("transferability", __doc__ or "", repeats=3)
    size = ("60", "16", "3") if given.quick else ("1000", "512", "10")

    def run(what: str) -> Cost:
        cost = python("-m", "benchmarks.transferability", what, *size, cwd=ROOT)
        return Cost(cost.said["wall"], cost.said["processor"], cost.memory)

    costs = alternating(lambda: run("appraise"), lambda: run("values"), given.repeats)
    report("transferability", given, rows_of(costs), other="the values alone")


def measure(what: str, examples: int, features: int, classes: int) -> None:
    """Compute the scores of made-up features, once; print what it took."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    from graft.transferability.appraisal import appraise
    from graft.transferability.registry import SCORES
    from graft.transferability.representation import Representation

    rng = np.random.default_rng(0)
    labels = np.arange(examples) % classes
    means = 0.3 * rng.standard_normal((classes, features))
    values = np.maximum(rng.standard_normal((examples, features)) + means[labels], 0)
    odds = np.exp(rng.standard_normal((examples, classes)) + 2 * np.eye(classes)[labels])
    representation = Representation(np.float32(values), odds / odds.sum(axis=1, keepdims=True))
    wall, processor = time.perf_counter(), time.process_time()
    if what == "appraise":
        appraise(representation, labels, seed=0)
    else:
        with threadpool_limits(1):
            for score in SCORES.values():
                score.compute(representation, labels)
    took = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
    print(json.dumps(took))


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in {"appraise", "values"}:
        measure(sys.argv[1], *map(int, sys.argv[2:]))
    else:
        main()
