"""The article's experiment on CIFAR-10: 10 epochs on the source, 10 of fine-tuning, the test.

From prepared data to test accuracy. graft's side is `dvc repro` of the stages that do what the
script does, `train_source`, `transfer`, `finetune` and `evaluate`: processes of their own, with
their starts, what DVC hashes and caches, and the record in MLflow. The control, which the script
lacks and `evaluate` needs, runs once and is told apart. The stages run a second time with
`compute.precision: auto`, which computes in bfloat16 where the machine does so fast.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from benchmarks.measuring import (
    Cost,
    Goal,
    Row,
    alternating,
    cost_of,
    options,
    python,
    report,
    rows_of,
)
from benchmarks.studies import (
    CIFAR10,
    DVC,
    copy_project,
    made_up_images,
    photo_study,
    write,
    write_params,
)
from graft.core.prepared import read_split

STAGES = ("train_source@photos", "transfer@photos", "finetune@photos-full", "evaluate")


def main() -> None:
    """Measure and report."""
    given = options("article", __doc__ or "", repeats=3)
    epochs, per_class = (1, 12) if given.quick else (10, 4000)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name) / "study"
        made_up = Path(name) / "made-up.zip"
        images = made_up_images(made_up, per_class + 3) if given.quick else given.needed_images()
        prepare(folder, images, epochs, per_class)
        control = repro(folder, "scratch")
        script = ("-m", "benchmarks.baselines.article", "data.npz", str(epochs))
        automatic: list[Cost] = []

        def both() -> Cost:
            automatic.append(graft(folder, "auto"))
            return graft(folder, "float32")

        costs = alternating(both, lambda: python(*script, cwd=folder), given.repeats)
    rows = rows_against(costs)
    rows += [
        replace(row, what=f"precision: auto, {row.what}")
        for row in rows_against((automatic, costs[1]))
    ]
    times = f"{control.wall:.0f} s, {control.processor:.0f} s of processor time"
    note = f"The control, `scratch`, took {times} more."
    report("article", given, rows, other="the article's script", notes=[note])


def rows_against(costs: tuple[list[Cost], list[Cost]]) -> list[Row]:
    """Return what graft took, in one precision, beside the script."""
    accuracies = [[100 * cost.said["accuracy"] for cost in arm] for arm in costs]
    largest = [[cost.largest for cost in arm] for arm in costs]
    return [
        *rows_of(costs, wall=Goal(0.65), memory=Goal(0.2)),
        Row("memory of the largest process", "MiB", *largest, Goal(0.2)),
        Row("test accuracy", "%", *accuracies),
    ]


def prepare(folder: Path, images: Path, epochs: int, per_class: int) -> None:
    """Write graft's prepared data, and the same images as the arrays that the script reads."""
    steps = max(1, epochs * per_class * len(CIFAR10) // 64)
    copy_project(folder)
    (folder / "dvc.lock").unlink()  # another study's
    write(folder, photo_study(images.name, labels_per_class=(per_class,), steps=steps), images)
    cost_of(DVC, "repro", "prepare", cwd=folder)
    source = folder / "data/prepared/sources/photos"
    # Keras validates on the last fifth: here, on what graft validates on.
    parts = [read_split(source / split) for split in ("train", "validation")]
    test = read_split(folder / "data/prepared/target/test")
    np.savez(
        folder / "data.npz",
        x_train=np.concatenate([part.inputs for part in parts]),
        y_train=np.concatenate([part.labels for part in parts]),
        x_test=test.inputs,
        y_test=test.labels,
    )


def graft(folder: Path, precision: str) -> Cost:
    """Run the stages anew; say the accuracy of the fine-tuned model."""
    study = yaml.safe_load((folder / "params.yaml").read_text())
    study["compute"]["precision"] = precision
    write_params(folder, study)
    total = repro(folder, *STAGES)
    rows = (folder / "metrics/cells.csv").read_text().splitlines()
    columns = rows[0].split(",")
    of_full = next(row.split(",") for row in rows[1:] if row.split(",")[1] == "full")
    accuracy = float(of_full[columns.index("accuracy")])
    return replace(total, said={"accuracy": accuracy})


def repro(folder: Path, *stages: str) -> Cost:
    """Run these stages, and no others, whatever DVC knows of them."""
    # Nothing of graft's that lies elsewhere: the copy is a project of its own.
    here = {"PYTHONPATH": ""}
    return cost_of(DVC, "repro", "--force", "--single-item", *stages, cwd=folder, env=here)


if __name__ == "__main__":
    main()
