"""Every state of dvc.lock resolves to a run."""

import json

import pytest
import yaml
from click.testing import CliRunner

from graft.cli import main
from graft.core import tracking
from graft.core.fingerprint import fingerprint, md5_of_file
from graft.core.tracking import stage_run
from graft.core.tracking.invocation import Invocation, Process
from graft.core.tracking.spool import Spool
from graft.recording import locked as locked_module
from graft.recording.locked import record_locked
from graft.recording.note import is_noted

pytestmark = pytest.mark.usefixtures("in_process")

PIPELINE = """\
stages:
  prepare:
    cmd: python -m stages.prepare
    params: [seed]
  finetune:
    matrix:
      source: ${source.candidates}
      method: ${finetune.methods}
    cmd: python -m stages.finetune ${item.source} ${item.method}
    params: [seed, hub, "methods.${item.method}"]
    deps: [data]
"""

STAGES = {
    "prepare": ("prepare", {}),
    "finetune@low-full": ("finetune", {"source": "low", "method": "full"}),
    "finetune@low-probe": ("finetune", {"source": "low", "method": "probe"}),
}


@pytest.fixture
def project(root):
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "data").write_text("data")
    set_params()
    return root


def set_params(*, seed=1, full=0.1):
    methods = {"full": {"rate": full}, "probe": {"rate": None}}
    with open("params.yaml", "w") as file:  # noqa: PTH123
        yaml.safe_dump({"seed": seed, "hub": {"token": "x7"}, "methods": methods}, file)


def lock(root, **outs):
    """Write dvc.lock as DVC does when all stages are up to date."""
    entries = {}
    for name, (stage, item) in STAGES.items():
        made = fingerprint(stage, **item)
        entries[name] = {
            "cmd": made.command,
            "deps": [{"path": p, "hash": "md5", "md5": h} for p, h in made.deps.items()],
            "params": {"params.yaml": made.params},
            "outs": [
                {"path": path, "hash": "md5", "md5": md5_of_file(root / path)}
                for path in outs.get(stage, ())
            ],
        }
    (root / "dvc.lock").write_text(
        yaml.safe_dump({"schema": "2.0", "stages": entries}, sort_keys=False)
    )


@pytest.fixture
def execute(monkeypatch):
    """Return a function that executes stages below one invocation of DVC, which then ends."""
    pids = iter(range(1, 100))

    def execute(*names):
        calling = Invocation(Process("vm", next(pids), 5), "dvc repro", "dvc repro")
        monkeypatch.setattr(stage_run, "invocation", lambda: calling)
        monkeypatch.setattr(Process, "alive", property(lambda p: p.host != "vm"))
        for name in names:
            stage, item = STAGES[name]
            with tracking.run(stage, {"seed": 1}, **item) as record:
                record.metrics({"accuracy": 0.5})

    return execute


def runs(root, **tags):
    """Return the runs with these tags, the oldest first."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("graft").experiment_id
    found = client.search_runs([experiment], order_by=["attributes.start_time ASC"])
    return [run for run in found if tags.items() <= run.data.tags.items()]


def record():
    return record_locked(Spool.here())


def below(root, parent):
    """Return the name and kind of what stands below a run."""
    children = runs(root, **{"mlflow.parentRunId": parent.info.run_id})
    return sorted((c.info.run_name, c.data.tags["graft.kind"]) for c in children)


def invocations(root):
    return runs(root, **{"graft.kind": "invocation"})


def test_stages_that_one_invocation_executed_are_on_record_already(project, execute):
    execute(*STAGES)
    lock(project)
    recorded = record()
    assert (recorded.stages, recorded.linked, recorded.reconstructed) == (3, [], [])
    assert len(runs(project)) == 4


def test_a_stage_that_was_not_executed_is_linked_below_the_last_invocation(project, execute):
    execute(*STAGES)
    set_params(full=0.2)
    execute("finetune@low-full")
    lock(project)
    recorded = record()
    assert recorded.linked == ["prepare", "finetune@low-probe"]
    assert recorded.reconstructed == []
    _, last = invocations(project)
    assert below(project, last) == [
        ("finetune low full", "stage"),
        ("finetune low probe", "link"),
        ("prepare", "link"),
    ]
    (link,) = runs(project, **{"graft.kind": "link", "method": "probe"})
    (original,) = runs(project, **{"graft.kind": "stage", "method": "probe"})
    assert link.info.status == "FINISHED"
    assert link.data.tags["graft.run"] == original.info.run_id
    assert link.data.tags["graft.fingerprint"] == original.data.tags["graft.fingerprint"]
    assert original.info.run_id in link.data.tags["mlflow.note.content"]
    assert link.data.params == original.data.params
    assert link.data.metrics == {"accuracy": 0.5}


def test_a_state_that_is_checked_out_again_is_that_of_its_invocation(project, execute):
    execute(*STAGES)
    set_params(full=0.2)
    execute("finetune@low-full")
    set_params(full=0.1)
    lock(project)
    recorded = record()
    assert (recorded.linked, recorded.reconstructed) == ([], [])


def test_a_state_that_no_invocation_made_has_a_parent_of_its_own(project, execute):
    execute(*STAGES)
    set_params(seed=2)
    execute(*STAGES)
    set_params(seed=1, full=0.2)
    execute("finetune@low-full")
    set_params(seed=2)
    lock(project)
    assert (record().linked, len(invocations(project))) == ([], 3)
    # One stage as in the first state, the others as in the second: of neither invocation.
    set_params(seed=1)
    stages = yaml.safe_load((project / "dvc.lock").read_text())
    mixed = fingerprint("prepare")
    stages["stages"]["prepare"]["params"]["params.yaml"] = mixed.params
    (project / "dvc.lock").write_text(yaml.safe_dump(stages, sort_keys=False))
    recorded = record()
    assert recorded.linked == list(STAGES)
    *_, last = invocations(project)
    assert (last.info.run_name, last.info.status) == ("graft record", "FINISHED")
    assert len(below(project, last)) == 3


def test_a_stage_that_someone_else_executed_is_made_from_what_came_of_it(project):
    (project / "metrics.json").write_text(json.dumps({"accuracy": 0.75, "source": {"n": 3}}))
    (project / "stale.json").write_text(json.dumps({"stale": 1}))
    lock(project, finetune=("metrics.json", "stale.json"))
    (project / "stale.json").write_text(json.dumps({"stale": 2}))
    assert record().reconstructed == list(STAGES)
    (run,) = runs(project, method="full")
    assert run.info.run_name == "finetune low full"
    assert run.data.tags["graft.reconstructed"] == "true"
    made = fingerprint("finetune", source="low", method="full")
    assert run.data.tags["graft.fingerprint"] == made.digest
    assert run.data.params == {"seed": "1", "hub.token": "***", "methods.full.rate": "0.1"}
    assert run.data.metrics == {"accuracy": 0.75, "source.n": 3}
    assert [each.dataset.name for each in run.inputs.dataset_inputs] == ["data"]
    (parent,) = invocations(project)
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_recording_twice_changes_nothing(project, execute):
    execute("prepare")
    lock(project)
    record()
    before = [(run.info.run_id, run.data) for run in runs(project)]
    assert len(before) == 4
    recorded = record()
    assert (recorded.linked, recorded.reconstructed) == ([], [])
    assert [run_id for run_id, _ in before] == [run.info.run_id for run in runs(project)]


def test_a_run_that_failed_is_not_that_of_a_state(project, execute, monkeypatch):
    execute("prepare")
    set_params(seed=2)
    with pytest.raises(ValueError, match="wrong"), tracking.run("prepare", {}):
        raise ValueError("wrong")
    lock(project)
    assert record().reconstructed == list(STAGES)


# The command


def graft_record():
    done = CliRunner().invoke(main, ["record"])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_says_what_it_did_and_does_nothing_the_second_time(
    project, execute, monkeypatch
):
    execute("prepare")
    lock(project)
    assert graft_record() == (
        "Each of the 3 stages of dvc.lock has its run in MLflow; made from dvc.lock and the "
        "metrics: finetune@low-full, finetune@low-probe.\n"
    )
    monkeypatch.setattr(locked_module, "Store", None)
    assert graft_record() == "dvc.lock is on record.\n"


def test_before_the_first_run_there_is_nothing_to_record(project):
    assert graft_record() == "dvc.lock has no stage yet; `dvc repro` runs them.\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda p: (p / "dvc.lock").write_text((p / "dvc.lock").read_text() + "\n"),
        lambda p: (p / "mlflow.db").unlink(),
        lambda p: Spool.here().new_journal().write("start", process="vm 1 5"),
    ],
    ids=["another dvc.lock", "no database", "a run that waits"],
)
def test_a_state_is_recorded_again_after(project, change):
    lock(project)
    record()
    assert is_noted(Spool.here())
    change(project)
    assert not is_noted(Spool.here())


def test_a_server_out_of_reach_stops_the_command_unless_params_say_otherwise(project, monkeypatch):
    lock(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert CliRunner().invoke(main, ["record"]).exit_code == 2
    with (project / "params.yaml").open("a") as file:
        file.write("tracking: {unreachable: spool}\n")
    done = CliRunner().invoke(main, ["record"])
    assert done.exit_code == 0
    assert "cannot be opened" in done.stderr
    assert "the runs stay in" in done.stderr
