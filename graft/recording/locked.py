"""Every state of dvc.lock as runs in MLflow: `graft record`.

DVC restores a stage from its cache, or leaves it as it is, without executing it, and then nothing
tells MLflow of it. Here each stage of dvc.lock is found by its fingerprint and stands below the
run of one invocation. MLflow knows one parent for a run, so a stage whose run belongs to another
invocation gets a *link* there: a run of the same parameters and metrics, whose tag ``graft.run``
names the one that it stands for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from graft.core.fingerprint import LOCK, Locked, locked, md5_of_file
from graft.core.tracking.invocation import Process
from graft.core.tracking.redaction import redacted
from graft.core.tracking.spool import Spool, now
from graft.core.tracking.stage_run import described, flat, numbers, origin
from graft.recording.champion import crown
from graft.recording.delivery import Delivery
from graft.recording.note import note
from graft.recording.store import Store, parents

if TYPE_CHECKING:
    from mlflow.entities import Run

_NAME = "graft record"
# What a link does not take over from the run that it stands for.
_OWN = ("mlflow.", "graft.kind", "graft.key", "graft.process")


@dataclass
class Recorded:
    """What `graft record` found and made.

    Attributes
    ----------
    stages
        How many stages dvc.lock has.
    linked, reconstructed
        Those for which a link was made, and those that had no run, for which one was made of
        what dvc.lock and the metrics say.
    """

    stages: int
    linked: list[str] = field(default_factory=list)
    reconstructed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.stages:
            return f"{LOCK} has no stage yet; `dvc repro` runs them."
        parts = [f"Each of the {self.stages} stages of {LOCK} has its run in MLflow"]
        if self.linked:
            parts.append(f"linked to runs of before: {', '.join(self.linked)}")
        if self.reconstructed:
            parts.append(f"made from {LOCK} and the metrics: {', '.join(self.reconstructed)}")
        return "; ".join(parts) + "."


def record_locked(spool: Spool) -> Recorded:
    """Deliver what waits, then see that every stage of dvc.lock has its run.

    Doing it again changes nothing.

    Raises
    ------
    GraftError
        When the store cannot be opened, or dvc.lock cannot be read.
    """
    stages = locked()
    with spool.delivering():
        store = Store(spool)
        Delivery(store, spool).step(ended_only=True)
        recorded = _complete(store, stages)
    note(spool)
    return recorded


def _complete(store: Store, stages: Mapping[str, Locked]) -> Recorded:
    recorded = Recorded(len(stages))
    runs = {
        name: store.find(graft__fingerprint=stage.fingerprint.digest, status="FINISHED")
        for name, stage in stages.items()
    }
    executed = {
        name: [run for run in found if run.data.tags["graft.kind"] == "stage"]
        for name, found in runs.items()
    }
    complete = set.intersection(*(set(parents(found)) for found in runs.values())) if runs else {""}
    if not complete:
        parent = _invocation(store, stages, executed) or _new_invocation(store)
        for name, stage in stages.items():
            if parent in parents(runs[name]):
                continue
            if executed[name]:
                _link(store, executed[name][0], parent)
                recorded.linked.append(name)
            else:
                _reconstruct(store, name, stage, parent)
                recorded.reconstructed.append(name)
    for found in executed.values():
        if found:
            crown(store, found[0].info.run_id)
    return recorded


def _invocation(
    store: Store, stages: Mapping[str, Locked], executed: Mapping[str, "list[Run]"]
) -> str | None:
    """Return the newest invocation that made some of these states and no other ones."""
    digests = {s.fingerprint.command: s.fingerprint.digest for s in stages.values()}
    candidates = [
        store.client.get_run(run_id)
        for run_id in parents(run for found in executed.values() for run in found)
    ]
    for candidate in sorted(candidates, key=lambda run: run.info.start_time, reverse=True):
        made = [child.data.tags for child in store.children(candidate.info.run_id)]
        if all(
            digests.get(tags["graft.command"], tags["graft.fingerprint"])
            == tags["graft.fingerprint"]
            for tags in made
            if "graft.fingerprint" in tags
        ):
            return str(candidate.info.run_id)
    return None


def _new_invocation(store: Store) -> str:
    time = now()
    run_id = store.create(_NAME, {"graft.kind": "invocation", **_process(), **origin()}, start=time)
    store.end(run_id, "FINISHED", time)
    return run_id


def _link(store: Store, run: "Run", parent: str) -> None:
    """Make a run below `parent` that stands for another one."""
    time = now()
    address = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    tags = {
        **{key: value for key, value in run.data.tags.items() if not key.startswith(_OWN)},
        "graft.kind": "link",
        "graft.run": run.info.run_id,
        "mlflow.note.content": f"Not executed: its results are those of [this run]({address}).",
        **_process(),
    }
    run_id = store.create(run.info.run_name, tags, start=time, parent=parent)
    store.log(run_id, time, params=run.data.params, metrics=_without_system(run.data.metrics))
    store.end(run_id, "FINISHED", time)


def _reconstruct(store: Store, name: str, stage: Locked, parent: str) -> None:
    """Make the run of a stage that someone else executed, from what came of it."""
    time = now()
    made = stage.fingerprint
    tags = {
        "stage": name.partition("@")[0],
        **stage.item,
        **origin(),
        **_process(),
        "graft.kind": "stage",
        "graft.reconstructed": "true",
        "graft.fingerprint": made.digest,
        "graft.command": made.command,
        "mlflow.note.content": f"Not executed here: made from {LOCK} and the metrics.",
    }
    run_id = store.create(
        " ".join((tags["stage"], *stage.item.values())), tags, start=time, parent=parent
    )
    params = {key: str(value) for key, value in flat(redacted(made.params)).items()}
    store.log(run_id, time, params=params, metrics=_metrics(stage))
    store.log_fingerprint(run_id, described(made))
    store.end(run_id, "FINISHED", time)


def _metrics(stage: Locked) -> dict[str, float]:
    """Return the numbers in the stage's JSON files, where these are still the ones it wrote."""
    found: dict[str, float] = {}
    for path, md5 in stage.outs.items():
        file = Path(path)
        if file.suffix == ".json" and file.is_file() and md5_of_file(file) == md5:
            value: Any = json.loads(file.read_text(encoding="utf-8"))
            found |= numbers(value) if isinstance(value, Mapping) else {}
    return found


def _without_system(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("system/")}


def _process() -> dict[str, str]:
    return {"graft.process": str(Process.of(psutil.Process()))}
