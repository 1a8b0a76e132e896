"""What benchmarks run on: a params.yaml, and a zip of images that is given or made up."""

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from benchmarks.measuring import ROOT, cost_of

DVC = Path(sys.executable).with_name("dvc")
CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def made_up_images(path: Path, per_class: int) -> Path:
    """Write a zip of small JPEG files, as many of each class to train as to test on.

    Each class has a colour of its own under noise, so that a network has something to learn.
    """
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for split in ("train", "test"):
            for number, name in enumerate(CIFAR10):
                colour = np.array([number % 2, number // 2 % 2, number // 4]) * 90
                for image in range(per_class):
                    pixels = np.uint8(colour + rng.integers(0, 76, (32, 32, 3)))
                    file = io.BytesIO()
                    Image.fromarray(pixels).save(file, "JPEG")
                    archive.writestr(f"images/{split}/{name}/{image:05}.jpg", file.getvalue())
    return path


def photo_study(
    images: str,
    *,
    source: tuple[str, ...] = CIFAR10,
    target: tuple[str, ...] = CIFAR10,
    labels_per_class: tuple[int | str, ...],
    network: str = "article",
    steps: int,
    methods: tuple[str, ...] = ("full",),
) -> dict[str, Any]:
    """Return a study from classes of a zip to classes of the same zip, as params.yaml has it."""
    dataset = {"name": "images", "path": images, "image_size": 32}
    recipe = {"steps": steps, "batch_size": 64, "learning_rate": 0.001, "schedule": "constant"}
    return {
        "seed": 0,
        "sources": {"photos": {"dataset": dataset, "classes": list(source)}},
        "source": {"candidates": ["photos"], "validation_fraction": 0.2},
        "target": {
            "dataset": dataset,
            "classes": list(target),
            "labels_per_class": list(labels_per_class),
            "repeats": 1,
        },
        "network": {"name": network},
        "train_source": recipe,
        "transfer": {},
        "methods": {name: {"strategy": {"name": name}} for name in methods},
        "finetune": {"methods": list(methods), "folds": 0, "training": recipe},
        "scratch": {},
        "evaluate": {"method": methods[0]},
        "compute": {"device": "auto"},
    }


def write_params(folder: Path, study: dict[str, Any]) -> None:
    """Write params.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")


def write(folder: Path, study: dict[str, Any], images: Path) -> None:
    """Write params.yaml, and a link to the zip where the study looks for it."""
    write_params(folder, study)
    raw = folder / "data/raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / images.name).symlink_to(images)


def copy_project(folder: Path) -> None:
    """Copy this project's files, as git knows them, into a repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    cost_of("git", "init", "--quiet", cwd=folder)
