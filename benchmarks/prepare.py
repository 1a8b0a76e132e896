"""60,000 JPEG files in a zip to arrays on disk, against a plain Pillow loop.

Loading is what the loop does. The stage `prepare` also splits, draws the label budgets, looks for
images that source and target share, hashes what it writes and waits for MLflow to have its run.

Memory is measured on a quarter of the images too: all processes of loading, and the largest of the
stage. All of the stage's would not tell: its recorder, which has nothing to do with the images, has
not imported MLflow yet when a quarter of them is loaded.
"""

import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

from benchmarks.measuring import Cost, Goal, Row, alternating, options, python, report, rows_of
from benchmarks.studies import CIFAR10, made_up_images, photo_study, write


def main() -> None:
    """Measure and report."""
    given = options("prepare", __doc__ or "", repeats=5)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        made_up = folder / "made-up.zip"
        images = made_up_images(made_up, 40) if given.quick else given.needed_images()
        script = ("-m", "benchmarks.baselines.prepare", images)
        zips = {"all": images, "quarter": every(images, 4, folder / "quarter.zip")}
        loaded: dict[str, list[Cost]] = {part: [] for part in zips}
        stages: dict[str, list[Cost]] = {part: [] for part in zips}

        def graft() -> Cost:
            for part, zipped in zips.items():
                loaded[part].append(python("-m", "benchmarks.load_images", zipped, cwd=folder))
                stages[part].append(prepare(folder / part, zipped))
            return loaded["all"][-1]

        costs = alternating(graft, lambda: python(*script, cwd=folder), given.repeats)
    whole = [
        replace(row, what=f"the whole stage, {row.what}")
        for row in rows_of((stages["all"], costs[1]), wall=Goal(0.6))
    ]
    memory = {part: [cost.memory for cost in loaded[part]] for part in zips}
    largest = {part: [cost.largest for cost in stages[part]] for part in zips}
    fewer = "over 1/4 of the images"
    rows = [
        *rows_of(costs, wall=Goal(0.6)),
        Row(f"memory {fewer}", "MiB", memory["all"], memory["quarter"], Goal(1.1)),
        *whole,
        Row(f"its largest process {fewer}", "MiB", largest["all"], largest["quarter"], Goal(1.1)),
    ]
    report("prepare", given, rows, other="a plain Pillow loop")


def prepare(folder: Path, images: Path) -> Cost:
    """Run the stage on six classes as the source and four as the target."""
    if not folder.exists():
        study = photo_study(
            images.name,
            source=CIFAR10[:6],
            target=CIFAR10[6:],
            labels_per_class=(5, "all"),
            steps=1,
        )
        write(folder, study, images)
    return python("-m", "stages.prepare", cwd=folder)


def every(images: Path, number: int, target: Path) -> Path:
    """Copy every so manieth file of a zip into another."""
    with zipfile.ZipFile(images) as source, zipfile.ZipFile(target, "w") as copy:
        for name in sorted(n for n in source.namelist() if not n.endswith("/"))[::number]:
            copy.writestr(name, source.read(name))
    return target


if __name__ == "__main__":
    main()
