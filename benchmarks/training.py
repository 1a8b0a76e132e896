"""How much of what the processor can do a training step does: its floating-point rate.

graft's side is the compiled step of `graft.training.loop` with batches of 64 images of 32 by 32:
all of it, from gathering the images to Adam's update. The other are the float32 matrix products
that its convolutions and dense layers amount to, of the same sizes, forwards and for both
gradients, and nothing else: no bias, no BatchNorm, no pooling, no loss, no update.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measuring import ROOT, Goal, Row, options, python, report

if TYPE_CHECKING:
    import keras

BATCH = 64
NETWORKS = {"resnet": Goal(0.5, at_least=True), "article": None}

Product = tuple[int, int, int]


def main() -> None:
    """Measure and report."""
    given = options("training", __doc__ or "", repeats=7)
    steps = "2" if given.quick else "50"
    rows = []
    for name, goal in NETWORKS.items():
        said = python("-m", "benchmarks.training", name, steps, str(given.repeats), cwd=ROOT).said
        rows.append(Row(name, "GFLOP/s", said["step"], said["products"], goal))
    report("training", given, rows, other="matrix products of these sizes")


def measure(name: str, steps: int, repeats: int) -> None:
    """Time steps and products in turn; print the rates in GFLOP per second."""
    from graft.compute.runtime import start_tensorflow
    from graft.networks.article import Article
    from graft.networks.resnet import ResNet
    from graft.strategies.full import Full
    from graft.training.loop import Recipe, TrainingLoop

    start_tensorflow()
    network = {"resnet": ResNet, "article": Article}[name]().build((32, 32, 3), 10, seed=0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2048, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, len(images))
    recipe = Recipe(steps=steps, batch_size=BATCH, learning_rate=0.001)
    loop = TrainingLoop(network, Full().phases(network.blocks), recipe)
    sizes = products(network.model)
    multiply = multiplication(sizes)
    work = 2 * sum(m * k * n for m, k, n in sizes) / 1e9
    rates: dict[str, list[float]] = {"step": [], "products": []}
    loop.fit(images, labels, rng)
    multiply()
    for _ in range(repeats):
        rates["products"].append(steps * work / seconds(lambda: [multiply() for _ in range(steps)]))
        rates["step"].append(steps * work / seconds(lambda: loop.fit(images, labels, rng)))
    print(json.dumps(rates))


def products(model: "keras.Model") -> list[Product]:
    """Return (m, k, n) of every product in a step: forwards, and for the gradients of both factors.

    A convolution counts as the product of its patches with its kernel. The first layer needs no
    gradient of its input.
    """
    import keras

    sizes: list[Product] = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            *inner, n = layer.kernel.shape
            m, k = BATCH * int(np.prod(layer.output.shape[1:-1])), int(np.prod(inner))
            sizes += [(m, k, n), (k, m, n)] if not sizes else [(m, k, n), (k, m, n), (m, n, k)]
    return sizes


def multiplication(sizes: list[Product]) -> Callable[[], Any]:
    """Return a compiled function that makes these products, one after the other."""
    import tensorflow as tf

    pairs = [
        (tf.random.stateless_normal((m, k), (0, 0)), tf.random.stateless_normal((k, n), (0, 1)))
        for m, k, n in sizes
    ]

    @tf.function  # type: ignore[untyped-decorator]
    def multiply(factors: Any) -> Any:
        # Of each product one number goes on, so that none is optimised away.
        return [tf.matmul(left, right)[0, 0] for left, right in factors]

    return lambda: [float(number) for number in multiply(pairs)]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in NETWORKS:
        measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
