"""What a stage tells of its run, and what MLflow then has."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graft.core import tracking
from graft.core.errors import GraftError
from graft.core.fingerprint import Fingerprint, Locked
from graft.core.tracking import stage_run
from graft.core.tracking.spool import Journal, Spool
from graft.recording.__main__ import deliver_once
from graft.recording.delivery import Delivery
from graft.recording.store import Store
from graft.training.loop import Recipe

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.usefixtures("in_process")


def record_one(params=None, metrics=None, error=None):
    """Record a run of `prepare`; raise `error` in it if given."""
    with tracking.run("prepare", params or {}) as record:
        record.metrics(metrics or {})
        if error is not None:
            raise error


def runs(folder, experiment="graft", **tags):
    """Return what a user of MLflow sees, the newest run first."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    found = sorted(found, key=lambda run: run.data.tags.get("graft.key", ""), reverse=True)
    return client, [r for r in found if tags.items() <= r.data.tags.items()]


def only(folder, **tags):
    client, (run,) = runs(folder, **tags)
    return client, run


# What a run holds


def test_a_run_holds_what_the_stage_was_given_and_found(root):
    recipe = Recipe(steps=3, learning_rate=0.1)
    with tracking.run("finetune", {"seed": 1, "training": recipe}, source="a", method="full") as r:
        r.metrics({"accuracy": 0.5, "source": {"train": 9, "rest": {"test": 2}}, "verdict": "hurt"})
        r.metrics({"none": None})
        r.curve("loss", [(25, 0.5), (50, 0.25)])
    client, run = only(root)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "finetune a full"
    assert run.info.end_time >= run.info.start_time > 1.6e12
    expected = {
        "stage": "finetune",
        "source": "a",
        "method": "full",
        "mlflow.source.name": "stages/finetune.py",
        "graft.kind": "stage",
    }
    assert expected.items() <= run.data.tags.items()
    assert run.data.params["seed"] == "1"
    assert run.data.params["training.learning_rate"] == "0.1"
    assert run.data.params["training.augmentation.flip"] == "False"
    own = {k: v for k, v in run.data.metrics.items() if not k.startswith("system/")}
    assert own == {"accuracy": 0.5, "source.train": 9, "source.rest.test": 2, "loss": 0.25}
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(25, 0.5), (50, 0.25)]


def test_a_run_tells_its_versions_and_what_it_cost(root):
    record_one()
    _, run = only(root)
    assert {"version.python", "version.tensorflow", "version.graft"} <= run.data.tags.keys()
    cost = {k: v for k, v in run.data.metrics.items() if k.startswith("system/")}
    assert cost.keys() == {
        "system/processor_time_seconds",
        "system/wall_time_seconds",
        "system/peak_memory_megabytes",
    }
    assert all(value > 0 for value in cost.values())


def test_a_long_curve_and_many_parameters_are_recorded_whole(root):
    with tracking.run("train_source", {f"p{number}": number for number in range(250)}) as record:
        record.curve("loss", [(step, step / 10) for step in range(2001)])
    client, run = only(root)
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 2001
    assert len(run.data.params) == 250


def test_names_and_values_that_mlflow_refuses_are_made_fit(root):
    given = {"a\n?": 1, "b/../c": 2, "/d": 3, "ü (%)": "x" * 7000, "n" * 300: 4}
    with tracking.run("prepare", given, source="s" * 9000) as record:
        record.metrics({"class": {"x\ty": 1, "..": 2, "": 3}})
    _, run = only(root)
    assert run.data.params == {
        "a__": "1",
        "b___c": "2",
        "_d": "3",
        "ü ___": "x" * 6000,
        "n" * 250: "4",
    }
    own = {k: v for k, v in run.data.metrics.items() if not k.startswith("system/")}
    assert own == {"class.x_y": 1, "class...": 2, "class.": 3}
    assert run.data.tags["source"] == "s" * 5000


def test_a_cell_is_a_run_below_its_stage(root):
    with tracking.run("finetune", {}, source="a", method="full") as record:
        for repeat in (0, 1):
            cell = {"source": "a", "method": "full", "labels_per_class": 5, "repeat": repeat}
            curves = {"objective": [(25, 2.0), (50, 1.0)]}
            record.cell(cell, {"train_accuracy": repeat}, curves, {"learning_rate": 0.01})
    _, stage = only(root, **{"graft.kind": "stage"})
    client, cells = runs(root, **{"graft.kind": "cell"})
    assert [c.info.run_name for c in cells] == ["a full 5 1", "a full 5 0"]
    assert {c.data.tags["mlflow.parentRunId"] for c in cells} == {stage.info.run_id}
    assert {c.info.status for c in cells} == {"FINISHED"}
    expected = {"source": "a", "method": "full", "labels_per_class": "5", "repeat": "1"}
    assert cells[0].data.params == {**expected, "learning_rate": "0.01"}
    assert expected.items() <= cells[0].data.tags.items()
    assert cells[0].data.metrics == {"train_accuracy": 1, "objective": 1}
    assert len(client.get_metric_history(cells[0].info.run_id, "objective")) == 2


def test_what_becomes_of_cells_is_added_to_their_runs(root, monkeypatch):
    made = [Fingerprint(command, {}, {}) for command in ("scratch", "now", "before")]
    state = {made.command: Locked(made, {}, {}) for made in made[:2]}
    monkeypatch.setattr(stage_run, "locked", lambda: state)
    (root / "dvc.yaml").touch()
    for arm, fingerprint in (
        ({"method": "scratch"}, made[0]),
        ({"source": "a", "method": "full"}, made[2]),
        ({"source": "a", "method": "full"}, made[1]),
    ):
        monkeypatch.setattr(stage_run, "fingerprint", lambda *_, of=fingerprint, **__: of)
        monkeypatch.setattr(stage_run, "outputs", list)
        with tracking.run(fingerprint.command, {}) as record:
            record.cell({**arm, "labels_per_class": "all", "repeat": 0}, {}, {})
    columns = ("source", "method", "labels_per_class", "repeat", "accuracy", "note")
    rows = [("", "scratch", "all", 0, 0.5, "x"), ("a", "full", "all", 0, 0.75, None)]
    rows.append(("a", "full", "all", 1, 0.9, None))  # a cell that is not on record
    monkeypatch.setattr(stage_run, "fingerprint", lambda *_, **__: Fingerprint("evaluate", {}, {}))
    with tracking.run("evaluate", {}) as record:
        record.evaluated(columns, rows)
    _, cells = runs(root, **{"graft.kind": "cell"})
    assert [(c.data.params["method"], c.data.metrics) for c in cells] == [
        ("full", {"test/accuracy": 0.75}),
        ("full", {}),
        ("scratch", {"test/accuracy": 0.5}),
    ]


def test_secrets_are_not_on_record(root):
    given = {"hub": {"token": "x7", "url": "https://me:x7@host"}, "seed": 1}
    with tracking.run("prepare", given):
        (journal,) = Spool.here().journals()
        assert "x7" not in journal.path.read_text()
    _, run = only(root)
    assert run.data.params == {"hub.token": "***", "hub.url": "https://***@host", "seed": "1"}


PIPELINE = """\
stages:
  prepare:
    cmd: python -m stages.prepare
    params: [seed, hub]
    deps: [data, code.py]
"""


@pytest.fixture
def project(root):
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "params.yaml").write_text("seed: 1\nhub: {token: x7}\n")
    (root / "code.py").write_text("")
    (root / "data").write_text("data")
    return root


def test_a_run_carries_its_fingerprint_and_its_data(project):
    from mlflow.artifacts import load_dict

    from graft.core.fingerprint import fingerprint

    record_one()
    _, run = only(project)
    made = fingerprint("prepare")
    assert run.data.tags["graft.fingerprint"] == made.digest
    assert run.data.tags["graft.command"] == "python -m stages.prepare"
    assert load_dict(f"{run.info.artifact_uri}/fingerprint.json") == {
        "digest": made.digest,
        "command": "python -m stages.prepare",
        "params": {"seed": 1, "hub": {"token": "***"}},
        "deps": dict(made.deps),
        "data": ["data"],
    }
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("data", made.deps["data"])


# How a run ends


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (GraftError("wrong"), "FAILED"),
        (ValueError(), "FAILED"),
        (SystemExit(2), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
    ],
)
def test_a_stage_that_does_not_finish_says_so(root, error, status):
    with pytest.raises(type(error)):
        record_one({"seed": 1}, {"examples": 3}, error)
    deliver_once(Spool.here())  # an interrupted stage does not wait for it
    _, run = only(root)
    assert run.info.status == status
    assert run.info.end_time is not None
    assert (run.data.params["seed"], run.data.metrics["examples"]) == ("1", 3)


STAGE = """
import sys
from graft.core import tracking
with tracking.run("prepare", {"seed": 1}) as record:
    record.metrics({"examples": 3})
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(("signal_number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_stage_that_is_killed_leaves_a_killed_run(root, monkeypatch, signal_number, code):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # A recorder is at work already, as far as the stage can see.
    Spool.here().folder.mkdir(parents=True)
    with (
        Spool.here().recorder_lock(),
        subprocess.Popen(
            [sys.executable, "-c", STAGE],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as stage,
    ):
        assert stage.stdout.readline() == "ready\n"
        deliver_once(Spool.here())
        assert runs(root)[1] == []  # it goes on: left to the recorder
        stage.send_signal(signal_number)
        assert stage.wait() == code
    deliver_once(Spool.here())
    _, run = only(root)
    assert (run.info.status, run.data.metrics["examples"]) == ("KILLED", 3)
    assert Spool.here().journals() == []


def test_a_run_whose_process_is_gone_with_its_journal_does_not_run_for_ever(root):
    store = Store(Spool.here())
    tags = {"graft.kind": "stage", "graft.key": "k", "graft.process": f"{os.uname().nodename} 1 5"}
    store.create("prepare", tags, start=1000)
    store.create("by someone else", {}, start=1000)
    deliver_once(Spool.here())
    _, found = runs(root)
    assert {r.info.run_name: r.info.status for r in found} == {
        "prepare": "KILLED",
        "by someone else": "RUNNING",
    }


# Invocations of DVC


def journal_of(calling, stage="prepare", status="FINISHED", headline=None):
    """Write a journal as a stage below an invocation of DVC does."""
    journal = Spool.here().new_journal()
    journal.write(
        "start",
        name=stage,
        process=f"{os.uname().nodename} 1 5",
        invocation=calling and {"process": calling, "name": "dvc repro", "tags": {"a": "b"}},
        tags={"stage": stage},
        params={},
        fingerprint=None,
    )
    if headline:
        journal.write("headline", metrics=headline, tags={"verdict": "helped"})
    if status:
        journal.write("end", status=status, metrics={})
    return journal


GONE = f"{os.uname().nodename} 1 7"


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["FINISHED", "FINISHED"], "FINISHED"),
        (["FINISHED", "FAILED"], "FAILED"),
        (["FAILED", "KILLED"], "KILLED"),
        (["FINISHED", None], "KILLED"),
    ],
)
def test_stages_of_an_invocation_stand_below_it_and_say_how_it_ended(root, statuses, expected):
    for number, status in enumerate(statuses):
        journal_of(GONE, f"stage {number}", status)
    deliver_once(Spool.here())
    _, parent = only(root, **{"graft.kind": "invocation"})
    assert (parent.info.run_name, parent.info.status) == ("dvc repro", expected)
    assert parent.data.tags["a"] == "b"
    _, stages = runs(root, **{"graft.kind": "stage"})
    assert {s.data.tags["mlflow.parentRunId"] for s in stages} == {parent.info.run_id}
    assert len(stages) == 2
    assert parent.info.end_time == max(s.info.end_time for s in stages)


def test_an_invocation_goes_on_as_long_as_its_process(root):
    import psutil

    from graft.core.tracking.invocation import Process

    journal_of(str(Process.of(psutil.Process())))
    spool = Spool.here()
    assert Delivery(Store(spool), spool).step()
    assert only(root, **{"graft.kind": "invocation"})[1].info.status == "RUNNING"


def test_an_invocation_has_the_headline_of_its_stages(root):
    journal_of(GONE, "prepare")
    journal_of(GONE, "evaluate", headline={"transfer_gain": 0.5})
    deliver_once(Spool.here())
    for tags in ({"graft.kind": "invocation"}, {"stage": "evaluate"}):
        run = only(root, **tags)[1]
        assert run.data.metrics == {"transfer_gain": 0.5}
        assert run.data.tags["verdict"] == "helped"
    assert only(root, stage="prepare")[1].data.metrics == {}


def test_two_invocations_are_two_parents(root):
    journal_of(GONE)
    journal_of(f"{os.uname().nodename} 1 8")
    journal_of(None)
    deliver_once(Spool.here())
    _, stages = runs(root, **{"graft.kind": "stage"})
    assert len({s.data.tags.get("mlflow.parentRunId") for s in stages}) == 3


# Delivery


def test_a_run_shows_while_its_stage_goes_on(root):
    spool = Spool.here()
    with tracking.run("finetune", {"seed": 1}, method="full") as record:
        record.metrics({"a": 1})
        delivery = Delivery(Store(spool), spool)
        assert delivery.step()
        _, run = only(root)
        assert (run.info.status, run.data.metrics) == ("RUNNING", {"a": 1})
        record.metrics({"b": 2})
        record.cell({"repeat": 0}, {}, {})
        assert delivery.step()
        assert only(root, **{"graft.kind": "stage"})[1].data.metrics == {"a": 1, "b": 2}
    assert not delivery.step()
    assert only(root, **{"graft.kind": "stage"})[1].info.status == "FINISHED"
    assert len(runs(root)[1]) == 2


def test_a_stage_need_not_wait_for_its_record(root, monkeypatch):
    def refuse(*_):
        raise AssertionError("it waited")

    with monkeypatch.context() as patched:
        patched.setattr(stage_run, "_wait", refuse)
        with tracking.run("check", {}, awaited=False) as record:
            record.metrics({"sections": 3})
        with pytest.raises(AssertionError, match="it waited"):
            record_one()
    deliver_once(Spool.here())
    assert only(root, stage="check")[1].data.metrics["sections"] == 3
    assert {run.info.status for run in runs(root)[1]} == {"FINISHED"}


def test_a_delivery_that_broke_off_is_taken_up_and_nothing_is_there_twice(root, monkeypatch):
    spool = Spool.here()
    monkeypatch.setattr(stage_run, "_wait", lambda *_: None)
    with tracking.run("finetune", {"seed": 1}, method="full") as record:
        record.curve("loss", [(1, 0.5), (2, 0.25)])
        record.cell({"repeat": 0}, {"a": 1}, {"objective": [(1, 2.0)]})
        record.cell({"repeat": 1}, {"a": 2}, {"objective": [(1, 3.0)]})
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "remove", lambda _: (_ for _ in ()).throw(OSError("killed here")))
        with pytest.raises(OSError, match="killed here"):
            deliver_once(spool)
    deliver_once(spool)
    client, stage = only(root, **{"graft.kind": "stage"})
    assert len(client.get_metric_history(stage.info.run_id, "loss")) == 2
    _, cells = runs(root, **{"graft.kind": "cell"})
    assert [c.data.metrics["a"] for c in cells] == [2, 1]
    assert spool.journals() == []


# Stores


def test_artifacts_belong_into_the_original_repository(root, tmp_path_factory, monkeypatch):
    copy = tmp_path_factory.mktemp("copy")
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    record_one()
    client, (run,) = runs(root, "another")
    location = client.get_experiment_by_name("another").artifact_location
    assert location == (root / "mlruns").as_uri()
    assert run.info.artifact_uri.startswith(f"{location}/")
    assert list(copy.iterdir()) == []


def test_an_exported_run_is_not_taken_for_the_parent(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    record_one()
    assert "mlflow.parentRunId" not in only(root)[1].data.tags


def test_a_store_that_is_no_database_is_named(tmp_path, monkeypatch, no_tracking_settings):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_text("no database\n" * 100)
    with pytest.raises(GraftError) as caught:
        record_one()
    assert str(caught.value) == (
        f"the MLflow store sqlite:///{tmp_path}/mlflow.db cannot be opened: file is not a "
        "database; mend it, or set MLFLOW_TRACKING_URI to another one"
    )
    assert not (tmp_path / "mlflow.spool").exists()


@pytest.mark.parametrize("uri", ["gopher://nowhere", "sqlite:///{folder}/file/mlflow.db"])
def test_a_store_that_cannot_be_is_named(tmp_path, monkeypatch, no_tracking_settings, uri):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    uri = uri.format(folder=tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(GraftError, match=f"the MLflow store {uri} cannot be opened"):
        record_one()


# A server out of reach

SERVER = "http://me:x7@127.0.0.1:9"


@pytest.fixture
def out_of_reach(tmp_path, monkeypatch, no_tracking_settings):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SERVER)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return tmp_path


def test_a_server_that_does_not_answer_stops_the_stage_before_it_starts(out_of_reach):
    with pytest.raises(GraftError) as caught:
        record_one()
    message = str(caught.value)
    assert message.startswith("the MLflow store http://***@127.0.0.1:9 cannot be opened")
    assert message.endswith("with `tracking: {unreachable: spool}` in params.yaml the stage would "
                            "run all the same")  # fmt: skip
    assert "x7" not in message
    assert Spool.here().journals() == []


def test_a_run_waits_for_a_server_that_does_not_answer_if_params_say_so(
    out_of_reach, root, monkeypatch, capsys
):
    (out_of_reach / "params.yaml").write_text("tracking: {unreachable: spool}\nunknown: 1\n")
    record_one({"seed": 1}, {"examples": 3})
    assert "graft: the MLflow store http://***@127.0.0.1:9 cannot be opened" in (
        capsys.readouterr().err
    )
    spool = Spool.here()
    assert len(spool.journals()) == 1
    # The server is back; to the client a database is as good as a server.
    answering = Store(Spool(root, f"sqlite:///{root / 'mlflow.db'}"))
    Delivery(answering, spool).step(ended_only=True)
    _, run = only(root)
    assert (run.info.status, run.data.metrics["examples"]) == ("FINISHED", 3)
    assert spool.journals() == []


def test_another_word_for_unreachable_is_refused(out_of_reach):
    (out_of_reach / "params.yaml").write_text("tracking: {unreachable: ignore}\n")
    with pytest.raises(GraftError, match=r"params\.yaml:1: tracking\.unreachable: .*'fail'"):
        record_one()


# Races

EIGHT = """
import sys
from graft.core import tracking

with tracking.run("prepare", {"number": sys.argv[1]}) as run:
    run.metrics({"number": int(sys.argv[1])})
"""


def test_eight_stages_open_a_new_store_at_once(tmp_path, monkeypatch, no_tracking_settings):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    stages = [
        subprocess.Popen(
            [sys.executable, "-c", EIGHT, str(number)], cwd=tmp_path, stderr=subprocess.PIPE
        )
        for number in range(8)
    ]
    assert [stage.communicate()[1] for stage in stages] == [b""] * 8
    assert [stage.returncode for stage in stages] == [0] * 8
    _, found = runs(tmp_path)
    assert sorted(run.data.metrics["number"] for run in found) == list(range(8))
    assert {run.info.status for run in found} == {"FINISHED"}


def test_a_recorder_comes_after_the_stages():
    script = (
        "import os, pathlib\n"
        "from graft.recording.__main__ import _step_back; _step_back()\n"
        "print(os.nice(0), pathlib.Path('/proc/self/autogroup').read_text().split()[-1])"
    )
    if not os.access("/proc/self/autogroup", os.W_OK):
        pytest.skip("this system does not schedule sessions")
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    assert done.stdout.split() == [str(min(os.nice(0) + 5, 19)), "5"]


def test_a_recorder_ends_when_nothing_is_left_to_record(root):
    journal_of(GONE)
    done = subprocess.run(
        [sys.executable, "-m", "graft.recording"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert {r.info.status for r in runs(root)[1]} == {"FINISHED"}
