"""The pipeline as a user runs it: DVC, in a repository of its own, on a tiny study."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.dependency import ParamsDependency
from dvc.repo import Repo

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


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
evaluate: {resamples: 200, confidence: 0.95}
compute: {}
"""

STAGES = {
    "check",
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

    def run(self, *command, check=True, **environment):
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **environment},
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
    made.run("git", "config", "user.name", "someone")
    made.run("git", "config", "user.email", "someone@example.org")
    made.run("git", "commit", "-q", "-m", "Start")
    made.first = made.repro()
    return made


@pytest.fixture
def s3(monkeypatch):
    """An S3-compatible server on this machine, with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "anything")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(
        Bucket="studies"
    )
    yield endpoint
    server.stop()


def test_the_first_run_runs_every_stage_and_ends_with_the_answer(project):
    ran, output = project.first
    assert ran == STAGES
    assert "With 1 label per class" in output
    assert "models/target.keras holds" in output


def test_the_answer_has_the_keys_that_others_read(project):
    answer = json.loads(project.read("metrics/evaluate.json"))
    committed = json.loads((ROOT / "metrics/evaluate.json").read_text())
    assert list(answer) == list(committed)
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
    printed = " ".join(project.first[1].split())
    assert "with its logits divided by" in printed


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


def test_a_run_holds_every_section_that_its_stage_was_given(project):
    sections = {
        "check": set(),
        "prepare": {"seed", "sources", "source", "target"},
        "train_source": {"seed", "network", "train_source", "compute"},
        "scratch": {"seed", "network", "scratch", "training", "folds", "compute"},
        "transfer": {"seed", "network", "transfer", "compute"},
        "finetune": {"seed", "method", "training", "folds", "compute"},
        "evaluate": {"seed", "evaluate", "compute"},
    }
    found = {
        run.data.tags["stage"]: {name.partition(".")[0] for name in run.data.params}
        for run in tracked(project, **{"graft.kind": "stage"})
    }
    assert found == sections


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
    assert output == "Each of the 12 stages of dvc.lock has its run in MLflow.\n"
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


def files_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def only(params, declared):
    """Return the declared parameters, and no other."""
    kept = {}
    for name in declared:
        inner, value = kept, params
        *sections, last = name.split(".")
        for section in sections:
            inner, value = inner.setdefault(section, {}), value[section]
        inner[last] = value[last]
    return kept


ONE_OF_EACH = [
    "check",
    "prepare",
    "train_source@low",
    "scratch",
    "transfer@low",
    "finetune@low-l2_sp",
    "evaluate",
]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_stage_needs_what_it_declares_and_writes_its_outs(project, tmp_path, name):
    """It runs in a folder with that and dvc.yaml in it, and writes the same bytes there."""
    room, original = Project(tmp_path / "room"), tmp_path / "original"
    for folder in (room.folder, original):
        folder.mkdir()
    shutil.copy(project.folder / "dvc.yaml", room.folder)
    with Repo(project.folder) as repo:
        stage = next(stage for stage in repo.index.stages if stage.name == name)
        for dep in stage.deps:
            target = room.folder / dep.def_path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(dep, ParamsDependency):
                params = yaml.safe_load(project.read("params.yaml"))
                target.write_text(yaml.safe_dump(only(params, dep.params)))
            else:
                copy = shutil.copytree if (project.folder / dep.def_path).is_dir() else shutil.copy
                copy(project.folder / dep.def_path, target)
        given = files_in(room.folder)
        room.run(*stage.cmd.split(), DVC_ROOT=str(original))
        made = files_in(room.folder)
        outs = [out.def_path for out in stage.outs]
    expected = {
        path: content
        for path, content in files_in(project.folder).items()
        if any(path == out or path.startswith(f"{out}/") for out in outs)
    }
    assert {path: made.get(path) for path in given} == given
    new = made.keys() - given.keys()
    assert new == expected.keys()
    assert all(made[path] == expected[path] for path in new)


def test_a_clone_that_pulls_runs_nothing(project, tmp_path, s3):
    """From a folder and from an S3-compatible server."""
    remotes = {"folder": str(tmp_path / "remote"), "bucket": "s3://studies/digits"}
    for name, url in remotes.items():
        project.run("dvc", "remote", "add", name, url)
    project.run("dvc", "remote", "modify", "bucket", "endpointurl", s3)
    for name in remotes:
        project.run("dvc", "push", "-r", name)
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "Reproduce the study")
    for name in remotes:
        clone = Project(tmp_path / f"clone of {name}")
        project.run("git", "clone", "-q", ".", str(clone.folder))
        clone.run("dvc", "pull", "-r", name)
        ran, output = clone.repro()
        assert (ran, "Data and pipelines are up to date" in output) == (set(), True)
        model = "models/target.keras"
        assert (clone.folder / model).read_bytes() == (project.folder / model).read_bytes()


def test_an_experiment_is_compared_applied_and_kept_as_a_branch(project):
    before = json.loads(project.read("metrics/evaluate.json"))
    output = project.run(
        *("dvc", "exp", "run", "--name", "wide", "-S", "evaluate.confidence=0.99")
    ).stdout
    assert {
        line.split("'")[1] for line in output.splitlines() if line.startswith("Running st")
    } == {
        "check",
        "evaluate",
    }
    after = json.loads(project.read("metrics/evaluate.json"))
    assert after["transfer_gain"] == before["transfer_gain"]
    assert after["transfer_gain_low"] < before["transfer_gain_low"]
    project.run("git", "checkout", "-q", ".")
    project.run("dvc", "checkout")
    changed = json.loads(project.run("dvc", "exp", "diff", "HEAD", "wide", "--json").stdout)
    assert changed["params"]["params.yaml"]["evaluate.confidence"] == {
        "old": 0.95,
        "new": 0.99,
        "diff": pytest.approx(0.04),
    }
    project.run("dvc", "exp", "branch", "wide", "kept")
    assert "confidence: 0.99" in project.run("git", "show", "kept:params.yaml").stdout
    project.run("dvc", "exp", "apply", "wide")
    assert json.loads(project.read("metrics/evaluate.json")) == after
    assert project.repro()[0] == set()
    project.run("git", "checkout", "-q", ".")
    project.run("dvc", "checkout")


def test_a_change_of_one_method_runs_that_method_alone(project):
    project.change("strength: 0.01", "strength: 0.02")
    ran = {"check", "finetune@low-l2_sp", "finetune@printed-l2_sp", "evaluate"}
    assert project.repro()[0] == ran


def test_what_is_no_longer_named_is_not_evaluated(project):
    project.change("methods: [probe, l2_sp]", "methods: [probe]")
    assert project.repro()[0] == {"check", "evaluate"}
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
        assert f"{arm}: 2 of 4 cells tuned over 3 combinations, most often to {name} " in output
        assert output.count("; at 1 label per class the defaults stand (") == 2
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


TYPOS = {
    "in a section": ("repeats: 2", "repeat: 2", "target: unknown key 'repeat'"),
    "a new section": ("seed: 0", "seed: 0\ntypo: 5", "unknown key 'typo'"),
    "of a late stage": ("{resamples: 200,", "{resample: 200,", "evaluate: unknown key 'resample'"),
}


@pytest.mark.parametrize(("old", "new", "message"), TYPOS.values(), ids=TYPOS)
def test_a_parameter_that_nothing_knows_stops_the_run_before_its_first_stage(
    project, old, new, message
):
    project.change(old, new)
    line = project.read("params.yaml").partition(new)[0].count("\n") + new.count("\n") + 1
    lock = project.read("dvc.lock")
    result = project.run("dvc", "repro", check=False)
    project.change(new, old)
    assert result.returncode != 0
    assert result.stdout.count("Running stage") == result.stdout.count("Running stage 'check'") == 1
    assert f"graft: params.yaml:{line}: {message}" in result.stderr
    assert "Traceback" not in result.stderr
    assert project.read("dvc.lock") == lock
