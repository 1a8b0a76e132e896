"""The stage `evaluate` on a study whose answer is known: no training, one call of DVC."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from graft.core.artifacts import save_arrays, save_json, save_model
from graft.core.prepared import Examples, read_split, write_target
from graft.fitting.head import solve_head

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

PARAMS = """\
seed: 0
source: {candidates: [low]}
finetune:
  methods: [probe]
  folds: 0
  training: {steps: 5, learning_rate: 0.01}
evaluate: {method: probe, resamples: 200, fail_on_hurt: true}
compute: {}
"""

CELLS = [(budget, repeat) for budget in (1, 2) for repeat in range(5)]


@pytest.fixture(scope="module")
def study(tmp_path_factory, tensorflow):
    """A project with the stage `evaluate` alone; scratch is always right, `probe` never."""
    from graft.networks.small_cnn import SmallCNN

    folder = tmp_path_factory.mktemp("evaluate")
    for name in ("graft", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc")
    shutil.copy(ROOT / ".dvcignore", folder)
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    only = {"stages": {"evaluate": stages["evaluate"]}}
    (folder / "dvc.yaml").write_text(yaml.safe_dump(only), encoding="utf-8")
    (folder / "params.yaml").write_text(PARAMS, encoding="utf-8")

    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30).astype(np.int32)
    brightness = np.reshape(labels * 230, (60, 1, 1, 1))
    images = (brightness + rng.integers(0, 25, (60, 8, 8, 1))).astype(np.uint8)
    given = Examples(images, labels, ("dark", "bright"), np.arange(60) % 30 >= 5)
    options = {"labels_per_class": (1, 2), "repeats": 5, "test_fraction": 0.5, "seed": 0}
    write_target(folder / "data/prepared/target", given, kind="image", **options)

    network = SmallCNN(width=2).build((8, 8, 1), 2, seed=1)
    test = read_split(folder / "data/prepared/target/test")
    kernel, bias = solve_head(network.features(test.inputs), np.asarray(test.labels), 2, 1.0)
    save_model(folder / "models/initial/low.keras", network.model, given.class_names)
    for arm, sign, temperature in (("scratch", 1, None), ("low/probe", -1, 2.0)):
        for budget, repeat in CELLS:
            head = {"head/kernel": sign * kernel, "head/bias": sign * bias}
            save_arrays(folder / f"models/finetuned/{arm}/{budget}-{repeat}.npz", head)
        cells = [
            {
                "labels_per_class": budget,
                "repeat": repeat,
                "steps": 5,
                "temperature": temperature,
            }
            for budget, repeat in CELLS
        ]
        path = folder / f"metrics/finetune/{arm}.json"
        save_json(path, {"cross_validation": None, "cells": cells})
    save_json(folder / "metrics/transfer/low.json", {"transferability": {}})
    source = {"steps": 7, "train_examples": 10, "train_shared_with_target": 0}
    save_json(folder / "metrics/train_source/low.json", source)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def result(study):
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "200"}
    command = ["dvc", "repro"]
    return subprocess.run(
        command, cwd=study, env=environment, capture_output=True, text=True, check=False
    )


def rows(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_a_transfer_that_hurt_fails_the_run(result):
    assert result.returncode != 0
    assert "graft: transfer hurt (-100.0 points), and evaluate.fail_on_hurt is" in result.stderr
    assert "exited with 2" in result.stderr
    assert "Traceback" not in result.stderr


def test_everything_is_written_all_the_same(study, result):
    assert json.loads((study / "metrics/evaluate.json").read_text())["verdict"] == "hurt"
    stage = yaml.safe_load((study / "dvc.yaml").read_text())["stages"]["evaluate"]
    outs = [out if isinstance(out, str) else next(iter(out)) for out in stage["outs"]]
    missing = [out for out in outs if not (study / out).exists()]
    assert not missing


def test_the_answer_is_printed(result):
    printed = " ".join(result.stdout.split())
    assert "Transfer hurt. With 1 label per class `probe` reaches 0 % where" in printed
    assert (
        "Of 2 classes `probe` is worse on `dark` (-100), `bright` (-100): points of recall, 95 % "
        "sure of the whole list." in printed
    )
    assert "models/target.keras holds `low probe`: the only candidate." in printed
    assert "with its logits divided by 2.00, fitted inside the labels, they would be" in printed


def test_every_class_and_every_cell_with_a_temperature_has_its_row(study, result):
    classes = rows(study / "metrics/per_class.csv")
    assert [(row["labels_per_class"], row["class"], row["outcome"]) for row in classes] == [
        ("1", "dark", "lost"),
        ("1", "bright", "lost"),
        ("2", "dark", "lost"),
        ("2", "bright", "lost"),
    ]
    assert {row["test_examples"] for row in classes} == {"25"}
    calibration = rows(study / "metrics/calibration.csv")
    assert [row["method"] for row in calibration] == ["probe"] * len(CELLS)
    # Always sure and always wrong: less sure is less wrong.
    assert all(float(row["log_loss_scaled"]) < float(row["log_loss"]) for row in calibration)


def test_labels_saved_has_its_interval(study, result):
    compared = rows(study / "metrics/comparison.csv")
    assert [row["labels_saved"] for row in compared] == ["1.0", "0.5"]
    assert [row["labels_saved_low"] for row in compared] == ["1.0", "0.5"]
