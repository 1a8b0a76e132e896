"""The pipeline as a user runs it: DVC, in a repository of its own, on a tiny study."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.xdist_group("pipeline")

STUDY = """\
seed: 0
sources:
  low:
    dataset: {name: handwritten-digits}
    classes: [0, 1, 2]
  printed:
    dataset: {name: printed-digits, per_class: 12}
source: {candidates: [low, printed]}
target:
  dataset: {name: handwritten-digits}
  classes: [7, 8, 9]
  labels_per_class: [1, 3]
  repeats: 2
network: {name: small_cnn, width: 2}
train_source: {steps: 5, learning_rate: 0.01}
transfer: {scores: [knn, logme]}
methods:
  probe:
    strategy: {name: probe}
  l2_sp:
    strategy: {name: full}
    penalty: {name: l2_sp, strength: 0.01}
finetune:
  methods: [probe, l2_sp]
  folds: 3
  training: {steps: 4, batch_size: 4, learning_rate: 0.01}
scratch: {}
evaluate: {resamples: 200}
"""

STAGES = {
    "prepare",
    "train_source@low",
    "train_source@printed",
    "scratch",
    "transfer@low",
    "transfer@printed",
    "finetune@low-probe",
    "finetune@low-l2_sp",
    "finetune@printed-probe",
    "finetune@printed-l2_sp",
    "evaluate",
}


class Project:
    """A clone of this project with the tiny study in it."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, *command, check=True):
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=check,
        )

    def repro(self, *options):
        """Run `dvc repro`; return which stages ran, and what was printed."""
        output = self.run("dvc", "repro", *options).stdout
        ran = {line.split("'")[1] for line in output.splitlines() if line.startswith("Running st")}
        return ran, output

    def change(self, old, new):
        path = self.folder / "params.yaml"
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), encoding="utf-8")

    def read(self, path):
        return (self.folder / path).read_text(encoding="utf-8")

    def rows(self, path):
        return list(csv.DictReader(self.read(path).splitlines()))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A repository in which the study ran once."""
    folder = tmp_path_factory.mktemp("pipeline") / "study"
    kept = [".dvcignore", ".gitignore", "dvc.yaml", "graft", "stages", ".dvc/config", ".dvc/plots"]
    for name in kept:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, target)
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/.gitkeep").touch()
    (folder / "params.yaml").write_text(STUDY, encoding="utf-8")
    made = Project(folder)
    made.run("git", "init", "-q")
    made.run("git", "add", "-A")
    author = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
    made.run("git", *author, "commit", "-q", "-m", "Start")
    made.first = made.repro()
    return made


def test_the_first_run_runs_every_stage_and_ends_with_the_answer(project):
    ran, output = project.first
    assert ran == STAGES
    assert "With 1 label per class" in output
    assert "models/target.keras holds" in output


def test_the_answer_has_the_keys_that_others_read(project):
    answer = json.loads(project.read("metrics/evaluate.json"))
    assert list(answer) == [
        "verdict",
        "source",
        "method",
        "labels_per_class",
        "target_accuracy",
        "scratch_accuracy",
        "transfer_gain",
        "transfer_gain_low",
        "transfer_gain_high",
        "labels_saved",
    ]
    gain = answer["target_accuracy"] - answer["scratch_accuracy"]
    assert answer["transfer_gain"] == pytest.approx(gain)
    assert answer["transfer_gain_low"] <= gain <= answer["transfer_gain_high"]


def test_every_cell_has_its_row(project):
    rows = project.rows("metrics/cells.csv")
    columns = "source method labels_per_class repeat accuracy balanced_accuracy macro_f1 log_loss"
    assert list(rows[0]) == [*columns.split(), "ece", "steps"]
    arms = {("", "scratch"), *((s, m) for s in ("low", "printed") for m in ("probe", "l2_sp"))}
    expected = {(*arm, budget, repeat) for arm in arms for budget in "13" for repeat in "01"}
    names = ("source", "method", "labels_per_class", "repeat")
    assert {tuple(row[name] for name in names) for row in rows} == expected
    assert len(rows) == len(expected)


def test_the_exported_model_needs_no_graft(project):
    script = """
import sys, json, zipfile, keras, numpy as np
model = keras.models.load_model("models/target.keras")
names = json.load(zipfile.ZipFile("models/target.keras").open("metadata.json"))["class_names"]
probabilities = model.predict(np.zeros((2, 8, 8, 1), np.uint8), verbose=0)
assert not any(name.split(".")[0] == "graft" for name in sys.modules)
print(names, probabilities.shape, probabilities.sum(axis=1).round(5))
"""
    output = project.run(sys.executable, "-c", script).stdout
    assert output.strip() == "['7', '8', '9'] (2, 3) [1. 1.]"


def test_every_class_and_every_calibrated_cell_has_its_row(project):
    rows = project.rows("metrics/per_class.csv")
    arms = {(s, m) for s in ("low", "printed") for m in ("probe", "l2_sp")}
    expected = {(*arm, budget, name) for arm in arms for budget in "13" for name in "789"}
    names = ("source", "method", "labels_per_class", "class")
    assert {tuple(row[name] for name in names) for row in rows} == expected
    assert len(rows) == len(expected)
    # The first repeat of the largest budget is cross-validated, the control's too.
    calibrated = project.rows("metrics/calibration.csv")
    cells = {(r["source"], r["method"], r["labels_per_class"], r["repeat"]) for r in calibrated}
    assert cells == {(*arm, "3", "0") for arm in {("", "scratch"), *arms}}
    output = project.first[1]
    assert "with its logits divided by" in " ".join(output.split())  # wrapped anywhere


def tracked(project, **tags):
    """Return the runs with these tags."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("graft").experiment_id])
    return [run for run in runs if tags.items() <= run.data.tags.items()]


def test_every_stage_left_a_finished_run_below_that_of_the_invocation(project):
    (invocation,) = tracked(project, **{"graft.kind": "invocation"})
    assert invocation.info.run_name == "dvc repro"
    stages = tracked(project, **{"graft.kind": "stage"})
    assert {run.info.status for run in stages} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in stages} == {invocation.info.run_id}
    arms = {
        (r.data.tags["stage"], r.data.tags.get("source"), r.data.tags.get("method")) for r in stages
    }
    assert ("finetune", "printed", "l2_sp") in arms
    assert len(stages) == len(arms) == len(STAGES)
    assert list((project.folder / "mlflow.spool").rglob("*.jsonl")) == []


def test_every_cell_has_its_run_below_that_of_its_stage(project):
    stages = {run.info.run_id: run for run in tracked(project, **{"graft.kind": "stage"})}
    cells = tracked(project, **{"graft.kind": "cell"})
    assert len(cells) == 5 * 4
    for cell in cells:
        stage = stages[cell.data.tags["mlflow.parentRunId"]]
        assert cell.data.params["method"] == stage.data.tags["method"]
        assert {"labels_per_class", "repeat"} <= cell.data.params.keys()


def record(project):
    script = "from graft.cli import main; main(['record'])"
    return project.run(sys.executable, "-c", script).stdout


def test_the_runs_are_those_of_dvc_lock(project):
    output = record(project)
    assert output == "Each of the 11 stages of dvc.lock has its run in MLflow.\n"
    runs = len(tracked(project))
    (invocation,) = tracked(project, **{"graft.kind": "invocation"})
    assert invocation.info.status == "FINISHED"
    assert record(project) == ("dvc.lock is on record.\n")
    assert len(tracked(project)) == runs
    assert project.run("git", "status", "--porcelain", "mlflow.spool").stdout == ""


def test_nothing_runs_the_second_time_and_the_lock_is_the_same_when_forced(project):
    lock = project.read("dvc.lock")
    ran, output = project.repro()
    assert ran == set()
    assert "Data and pipelines are up to date" in output
    assert project.repro("--force")[0] == STAGES
    assert project.read("dvc.lock") == lock


def test_a_change_of_one_method_runs_that_method_alone(project):
    project.change("strength: 0.01", "strength: 0.02")
    assert project.repro()[0] == {"finetune@low-l2_sp", "finetune@printed-l2_sp", "evaluate"}


def test_what_is_no_longer_named_is_not_evaluated(project):
    project.change("methods: [probe, l2_sp]", "methods: [probe]")
    assert project.repro()[0] == {"evaluate"}
    assert not (project.folder / "models/finetuned/low/l2_sp").exists()
    assert {row["method"] for row in project.rows("metrics/cells.csv")} == {"scratch", "probe"}


def test_every_arm_is_tuned_inside_the_labels_of_each_cell(project):
    project.change("{name: probe}", "{name: probe}\n    grid: {c: [0.1, 1, 10]}")
    project.change("scratch: {}", "scratch: {grid: {learning_rate: [0.1, 0.01, 0.001]}}")
    output = project.run("dvc", "repro", "scratch", "finetune@low-probe").stdout
    for path, arm, name in (
        ("scratch", "scratch", "learning_rate"),
        ("low/probe", "low probe", "c"),
    ):
        line = f"{arm}: 2 of 4 cells tuned over 3 combinations; at 1 labels per class the defaults"
        assert line in output
        study = json.loads(project.read(f"metrics/finetune/{path}.json"))
        assert [len(combination) for combination in study["grid"]] == [1, 1, 1]
        assert [row["tuning"]["folds"] for row in study["cells"]] == [0, 0, 3, 3]
        for row in study["cells"][2:]:
            assert row["chosen"] == study["grid"][row["tuning"]["best"]]
            assert list(row["chosen"]) == [name]
        assert study["cross_validation"]["combinations"] == 3


def test_arms_that_were_tuned_unequally_are_not_compared(project):
    result = project.run(sys.executable, "-m", "stages.evaluate", check=False)
    assert result.returncode == 2
    start = "graft: the arms were tuned over grids of unequal size (scratch 3, low probe 3, "
    assert result.stderr.startswith(start)
    assert "printed probe none" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_parameter_stops_the_run_before_anything_is_written(project):
    project.change("repeats: 2", "repeat: 2")
    before = project.read("data/prepared/target/card.json")
    result = project.run(sys.executable, "-m", "stages.prepare", check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("graft: params.yaml:13: target: unknown key 'repeat'")
    assert "Traceback" not in result.stderr
    assert project.read("data/prepared/target/card.json") == before
