"""Predictions for 10,000 image files: `graft predict --csv` against load_model and a loop.

Both start, load the same model of the article's network, decode, predict and write CSV.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

from benchmarks.measuring import (
    ROOT,
    Goal,
    Row,
    alternating,
    cost_of,
    options,
    python,
    report,
    rows_of,
)
from benchmarks.studies import CIFAR10, made_up_images


def main() -> None:
    """Measure and report."""
    given = options("predict", __doc__ or "", repeats=3)
    per_class = 10 if given.quick else 1000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(made_up_images(folder / "made-up.zip", per_class)) as archive:
            archive.extractall(folder / "photos", [n for n in archive.namelist() if "/test/" in n])
        python("-m", "benchmarks.predict", "write", folder / "model.keras", cwd=ROOT)
        graft = (Path(sys.executable).with_name("graft"), "predict", "--csv", "photos")
        costs = alternating(
            lambda: cost_of(*graft, "--model", "model.keras", cwd=folder),
            lambda: python(
                "-m", "benchmarks.baselines.predict", "model.keras", "photos", cwd=folder
            ),
            given.repeats,
        )
    files = per_class * len(CIFAR10)
    rates = [[files / cost.wall for cost in arm] for arm in costs]
    rows = [Row("images", "/s", *rates, Goal(2, at_least=True)), *rows_of(costs)]
    report("predict", given, rows, other="load_model and a loop")


def write(path: Path) -> None:
    """Write the article's network, at random weights, as graft exports it."""
    from graft.compute.runtime import start_tensorflow
    from graft.core.artifacts import save_model
    from graft.networks.article import Article

    start_tensorflow()
    save_model(path, Article().build((32, 32, 3), len(CIFAR10), seed=0).model, CIFAR10)


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(Path(sys.argv[2]))
    else:
        main()
