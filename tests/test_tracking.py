import subprocess
import sys
from pathlib import Path

import pytest

from graft import tracking
from graft.errors import GraftError
from graft.training import Recipe

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """Forget what the environment says of DVC and MLflow."""
    for name in (
        "DVC_ROOT",
        "DVC_EXP_NAME",
        "MLFLOW_TRACKING_URI",
        "MLFLOW_EXPERIMENT_NAME",
        "MLFLOW_RUN_ID",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def new_store(tmp_path_factory):
    """Return a store that MLflow has made: making one takes a second."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with tracking.run("first", {}):
            pass
    return (folder / "mlflow.db").read_bytes()


@pytest.fixture
def root(tmp_path, monkeypatch, new_store):
    """Return a working directory with a store in it."""
    (tmp_path / "mlflow.db").write_bytes(new_store)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record_one(params=None, metrics=None, error=None):
    """Record a run of `prepare`; raise `error` in it if given."""
    with tracking.run("prepare", params or {}) as record:
        record.metrics(metrics or {})
        if error is not None:
            raise error


def runs(folder, experiment="graft"):
    """Return what a user of MLflow sees, the newest run first."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.get_experiment_by_name(experiment)
    return client, client.search_runs([found.experiment_id])


def test_a_run_holds_what_the_stage_was_given_and_found(root):
    recipe = Recipe(steps=3, learning_rate=0.1)
    with tracking.run("finetune", {"seed": 1, "training": recipe}, source="a", method="full") as r:
        r.metrics({"accuracy": 0.5, "source": {"train": 9, "rest": {"test": 2}}, "verdict": "hurt"})
        r.metrics({"none": None})
        r.curve("loss", [(25, 0.5), (50, 0.25)])
    client, (run, _) = runs(root)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "finetune a full"
    assert run.info.end_time >= run.info.start_time > 1.6e12
    tags = {k: run.data.tags[k] for k in ("stage", "source", "method", "mlflow.source.name")}
    assert tags == {
        "stage": "finetune",
        "source": "a",
        "method": "full",
        "mlflow.source.name": "stages/finetune.py",
    }
    assert run.data.params["seed"] == "1"
    assert run.data.params["training.learning_rate"] == "0.1"
    assert run.data.params["training.augmentation.flip"] == "False"
    assert run.data.metrics == {
        "accuracy": 0.5,
        "source.train": 9,
        "source.rest.test": 2,
        "loss": 0.25,
    }
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(25, 0.5), (50, 0.25)]


def test_a_long_curve_is_recorded_whole(root):
    with tracking.run("train_source", {}) as record:
        record.curve("loss", [(step, step / 10) for step in range(1001)])
    client, (run, _) = runs(root)
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 1001


@pytest.mark.parametrize(
    "error", [GraftError("wrong"), ValueError(), KeyboardInterrupt(), SystemExit(2)]
)
def test_a_stage_that_fails_leaves_a_failed_run(root, error):
    with pytest.raises(type(error)):
        record_one({"seed": 1}, {"examples": 3}, error)
    _, (run, _) = runs(root)
    assert run.info.status == "FAILED"
    assert run.info.end_time is not None
    assert (run.data.params, run.data.metrics) == ({"seed": "1"}, {"examples": 3})


def test_parameters_that_mlflow_refuses_leave_no_running_run(root):
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match="Invalid"):
        record_one({"a\n?": 1})
    _, (run, _) = runs(root)
    assert run.info.status == "FAILED"


def test_runs_of_an_experiment_carry_its_name(root, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "rusty-gate")
    record_one()
    _, (run, _) = runs(root)
    assert run.data.tags["dvc.experiment"] == "rusty-gate"


def test_runs_carry_the_commit(root):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "one"], check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    record_one()
    _, (run, _) = runs(root)
    assert run.data.tags["mlflow.source.git.commit"] == commit


def test_without_git_there_is_no_commit(root, monkeypatch):
    monkeypatch.setenv("PATH", str(root))
    record_one()
    _, (run, _) = runs(root)
    assert "mlflow.source.git.commit" not in run.data.tags


def test_the_store_is_in_the_original_repository(root, tmp_path_factory, monkeypatch):
    copy = tmp_path_factory.mktemp("copy")
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(root))
    record_one()
    client, found = runs(root)
    assert len(found) == 2
    assert list(copy.iterdir()) == []
    experiment = client.get_experiment_by_name("graft")
    assert not Path(experiment.artifact_location.removeprefix("file://")).is_relative_to(copy)


def test_artifacts_belong_into_the_original_repository(root, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("copy"))
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    record_one()
    client, (run,) = runs(root, "another")
    location = client.get_experiment_by_name("another").artifact_location
    assert location == (root / "mlruns").as_uri()
    assert run.info.artifact_uri.startswith(f"{location}/")


def test_mlflow_tracking_uri_names_another_store(root, tmp_path_factory, new_store, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mlflow.db").write_bytes(new_store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere / 'mlflow.db'}")
    record_one()
    assert (len(runs(elsewhere)[1]), len(runs(root)[1])) == (2, 1)


def test_an_empty_mlflow_tracking_uri_is_none(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    record_one()
    assert len(runs(root)[1]) == 2


def test_a_store_that_is_no_database_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_text("no database\n" * 100)
    with pytest.raises(GraftError) as caught:
        record_one()
    message = str(caught.value)
    assert message.startswith(f"the MLflow store sqlite:///{tmp_path}/mlflow.db cannot be opened: ")
    assert message.endswith("; mend it, or set MLFLOW_TRACKING_URI to another one")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("uri", ["gopher://nowhere", "sqlite:///{folder}/file/mlflow.db"])
def test_a_store_that_cannot_be_is_named(tmp_path, monkeypatch, uri):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    uri = uri.format(folder=tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(GraftError, match=f"the MLflow store {uri} cannot be opened"):
        record_one()


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(GraftError) as caught:
        record_one()
    message = str(caught.value)
    assert message.startswith("the MLflow store http://***@127.0.0.1:9 cannot be opened")
    assert "secret" not in message


def test_a_lock_that_another_process_keeps_is_named(root, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr(tracking, "_LOCK_SECONDS", 0.05)
    held = r"another process has held .*mlflow\.db\.lock"
    with FileLock(root / "mlflow.db.lock"), pytest.raises(GraftError, match=held):
        record_one()


EIGHT = """
import os
from graft import tracking
import mlflow.tracking, mlflow.store.tracking.sqlalchemy_store  # once, for all eight

def record(number):
    try:
        with tracking.run("prepare", {"number": number}) as run:
            run.metrics({"number": number})
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
    os._exit(0)

children = []
for number in range(8):
    child = os.fork()
    if child == 0:
        record(number)
    children.append(child)
raise SystemExit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


def test_eight_processes_open_a_new_store_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", EIGHT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    _, found = runs(tmp_path)
    assert sorted(run.data.metrics["number"] for run in found) == list(range(8))
    assert {run.info.status for run in found} == {"FINISHED"}
