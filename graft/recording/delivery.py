"""Bringing journals to MLflow: once each, however often it is tried."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graft.core.tracking.invocation import Process
from graft.core.tracking.spool import Journal, Spool
from graft.recording.champion import log_model
from graft.recording.store import Store

_CELL = ("source", "method", "labels_per_class", "repeat")


@dataclass
class _Open:
    """A journal that is being delivered.

    Attributes
    ----------
    position
        The byte up to which MLflow has it.
    delivered_before
        Whether someone else has begun: then its cells may be there already.
    """

    run_id: str
    process: Process
    parent: str | None
    tags: Mapping[str, str]
    delivered_before: bool
    position: int = 0
    cells: int = 0
    last: int = 0
    status: str | None = None


@dataclass
class Delivery:
    """Delivers the journals of a spool, as far as they are written, again and again."""

    store: Store
    spool: Spool
    _open: dict[str, _Open] = field(default_factory=dict)
    _invocations: dict[str, Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take over what goes on by the record, whoever left it."""
        keys = {journal.key for journal in self.spool.journals()}
        for run in self.store.find(status="RUNNING"):
            tags = run.data.tags
            if "graft.process" not in tags:
                continue
            process = Process.parse(tags["graft.process"])
            if tags["graft.kind"] == "invocation":
                self._invocations[run.info.run_id] = process
            elif tags["graft.key"].partition("/")[0] not in keys and not process.alive:
                self.store.end(run.info.run_id, "KILLED", run.info.start_time)

    def step(self, *, ended_only: bool = False) -> bool:
        """Deliver what there is; return whether more is to come.

        Parameters
        ----------
        ended_only
            Leave the runs that go on to the recorder that follows them.
        """
        journals = self.spool.journals()
        waiting = {journal.key for journal in journals}
        self._open = {key: entry for key, entry in self._open.items() if key in waiting}
        for journal in journals:
            if not (ended_only and journal.goes_on and not journal.has_ended):
                self._deliver(journal)
        self._end_invocations()
        return bool(self._open or self._invocations)

    def _deliver(self, journal: Journal) -> None:
        # Looked at first: what a process wrote before its death is then all there.
        entry = self._open.get(journal.key)
        alive = entry.process.alive if entry else journal.goes_on
        for event, end in journal.read(entry.position if entry else 0):
            if entry is None:
                entry = self._open[journal.key] = self._start(journal, event)
            else:
                self._add(journal, entry, event)
            entry.position, entry.last = end, event["time"]
        if entry is None:
            if not alive:
                journal.remove()  # killed before it told anything
        elif entry.status or not alive:
            self.store.end(entry.run_id, entry.status or "KILLED", entry.last)
            journal.remove()
            del self._open[journal.key]

    def _start(self, journal: Journal, event: Mapping[str, Any]) -> _Open:
        tags = {
            **event["tags"],
            "graft.kind": "stage",
            "graft.key": journal.key,
            "graft.process": event["process"],
        }
        made = event["fingerprint"]
        if made:
            tags |= {"graft.fingerprint": made["digest"], "graft.command": made["command"]}
        calling = event["invocation"]
        parent = self._invocation(calling, event["time"]) if calling else None
        found = self.store.find(graft__key=journal.key)
        run_id = (
            found[0].info.run_id
            if found
            else self.store.create(event["name"], tags, start=event["time"], parent=parent)
        )
        self.store.log(run_id, event["time"], params=event["params"])
        if made:
            self.store.log_fingerprint(run_id, made)
        return _Open(run_id, Process.parse(event["process"]), parent, tags, bool(found))

    def _invocation(self, calling: Mapping[str, Any], time: int) -> str:
        """Return the run of an invocation of DVC, made for the first of its stages."""
        process = calling["process"]
        found = self.store.find(graft__key=process)
        if found:
            run_id = str(found[0].info.run_id)
        else:
            tags = {"graft.kind": "invocation", "graft.key": process, "graft.process": process}
            run_id = self.store.create(calling["name"], {**calling["tags"], **tags}, start=time)
        self._invocations[run_id] = Process.parse(process)
        return run_id

    def _add(self, journal: Journal, entry: _Open, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "metrics":
                self.store.log(
                    entry.run_id,
                    event["time"],
                    metrics=event["metrics"],
                    curves=event.get("curves"),
                )
            case "headline":
                for run_id in filter(None, (entry.run_id, entry.parent)):
                    self.store.log(run_id, event["time"], metrics=event["metrics"])
                    self.store.tag(run_id, event["tags"])
            case "evaluated":
                self._evaluated(event)
            case "cell":
                self._cell(journal, entry, event)
            case "model":
                log_model(
                    self.store,
                    entry.run_id,
                    journal.files,
                    event["class_names"],
                    champion=event["champion"],
                )
            case "end":
                self.store.log(entry.run_id, event["time"], metrics=event["metrics"])
                entry.status = event["status"]

    def _cell(self, journal: Journal, entry: _Open, event: Mapping[str, Any]) -> None:
        """Record a cell below its stage; it is over when it is told of."""
        entry.cells += 1
        key = f"{journal.key}/{entry.cells}"
        found = self.store.find(graft__key=key) if entry.delivered_before else []
        tags = {
            **event["cell"],
            "stage": entry.tags["stage"],
            "graft.kind": "cell",
            "graft.key": key,
            "graft.process": entry.tags["graft.process"],
        }
        name = " ".join(event["cell"].values())
        run_id = (
            found[0].info.run_id
            if found
            else self.store.create(name, tags, start=entry.last, parent=entry.run_id)
        )
        self.store.log(
            run_id,
            event["time"],
            params={**event["cell"], **event["params"]},
            metrics=event["metrics"],
            curves=event["curves"],
        )
        self.store.end(run_id, "FINISHED", event["time"])

    def _evaluated(self, event: Mapping[str, Any]) -> None:
        """Add what came of cells to their runs, where their stages were executed here."""
        runs = {}
        for digest in event["made_by"]:
            stages = self.store.find(graft__fingerprint=digest, graft__kind="stage")
            for run in self.store.children(stages[0].info.run_id) if stages else ():
                runs[_cell(run.data.params)] = run.info.run_id
        for values in event["cells"]:
            if run_id := runs.get(_cell(values)):
                metrics = {
                    f"test/{name}": float(value)
                    for name, value in values.items()
                    if name not in _CELL and isinstance(value, int | float)
                }
                self.store.log(run_id, event["time"], metrics=metrics)

    def _end_invocations(self) -> None:
        """End the run of each invocation that is gone, as its stages ended."""
        under_way = {entry.parent for entry in self._open.values()}
        for run_id, process in list(self._invocations.items()):
            if run_id in under_way or process.alive:
                continue
            runs = self.store.children(run_id)
            statuses = {run.info.status for run in runs}
            worst = next((s for s in ("KILLED", "FAILED") if s in statuses), "FINISHED")
            ends = [run.info.end_time for run in runs if run.info.end_time]
            started = self.store.client.get_run(run_id).info.start_time
            self.store.end(run_id, worst, max(ends, default=started))
            del self._invocations[run_id]


def _cell(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what tells a cell from the others; the control has no source."""
    return tuple(str(values.get(name, "")) for name in _CELL)
