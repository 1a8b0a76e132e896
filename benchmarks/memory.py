"""The peak memory of `train_source`, `transfer` and `finetune` with 1 x, 4 x and 16 x the data.

1 x are 2,500 images of 32 by 32 pixels for the source and as many for the target, all of them in
use; 16 x are 40,000, in 123 MB. Every run makes as many steps, enough to see each image.
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measuring import Goal, Row, options, python, report
from benchmarks.studies import CIFAR10, photo_study, write_params

SCALES = (1, 4, 16)
STAGES = (("train_source", "photos"), ("transfer", "photos"), ("finetune", "photos", "full"))


def main() -> None:
    """Measure and report."""
    given = options("memory", __doc__ or "", repeats=2)
    unit = 100 if given.quick else 2500
    scales = SCALES[::2] if given.quick else SCALES
    stages = STAGES[:1] if given.quick else STAGES
    peaks: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        for scale in scales:
            folder = Path(name) / str(scale)
            prepare(folder, unit * scale, steps=-(-unit * SCALES[-1] // 64))
            for _ in range(given.repeats):
                for stage, *matrix in stages:
                    cost = python("-m", f"stages.{stage}", *matrix, cwd=folder)
                    peaks.setdefault((stage, scale), []).append(cost.memory)
    rows = [
        Row(f"{stage}, {scale} x", "MiB", peaks[stage, scale], peaks[stage, 1], Goal(1.1))
        for stage, *_ in stages
        for scale in scales[1:]
    ]
    report("memory", given, rows, other="1 x the data")


def prepare(folder: Path, count: int, steps: int) -> None:
    """Write a study, and its prepared data: noise, as many images for source and target."""
    from graft.core.prepared import Examples, write_source, write_target

    write_params(folder, photo_study("none.zip", labels_per_class=("all",), steps=steps))
    rng = np.random.default_rng(0)
    test = count // 10
    labels = (np.arange(count + test) % len(CIFAR10)).astype(np.int32)
    images = np.lib.format.open_memmap(
        folder / "images.npy", "w+", np.uint8, (count + test, 32, 32, 3)
    )
    for start in range(0, len(images), 1000):
        part = images[start : start + 1000]
        part[:] = rng.integers(0, 256, part.shape, np.uint8)
    examples = Examples(images, labels, CIFAR10, np.arange(count + test) >= count)
    prepared = folder / "data/prepared"
    write_source(
        prepared / "sources/photos", examples, kind="image", validation_fraction=0.1, rng=rng
    )
    write_target(
        prepared / "target",
        examples,
        kind="image",
        labels_per_class=("all",),
        repeats=1,
        test_fraction=0.1,
        seed=0,
    )


if __name__ == "__main__":
    main()
