"""What a stage tells of its run.

The record goes into a journal (`graft.core.tracking.spool`), from which a process of its own, the
recorder, brings it to MLflow: the store ``mlflow.db`` in the original repository, or the one that
``MLFLOW_TRACKING_URI`` names. A stage neither imports MLflow nor depends on the code that does.
"""

import os
import platform
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import psutil
from filelock import Timeout
from pydantic import BaseModel

from graft.core.errors import GraftError
from graft.core.fingerprint import PARAMS, PIPELINE, Fingerprint, fingerprint, locked, outputs
from graft.core.sections import read_declared
from graft.core.settings import Settings
from graft.core.tracking.invocation import Process, commit, invocation, is_dirty
from graft.core.tracking.redaction import redacted, without_user
from graft.core.tracking.spool import Journal, Spool

if TYPE_CHECKING:
    import numpy.typing as npt

_PATIENCE = 60


class TrackingSection(Settings):
    """What to do when the tracking server cannot be reached.

    Attributes
    ----------
    unreachable
        ``fail``: stop before the stage starts. ``spool``: run, and keep the record in
        ``mlflow.spool`` until `graft record` finds the server.
    """

    unreachable: Literal["fail", "spool"] = "fail"


class _Declared(Settings):
    """Of params.yaml, what is no stage's: dvc.yaml does not declare it, no result depends on it."""

    tracking: TrackingSection = TrackingSection()


class Run:
    """One stage's run, to which metrics, curves, cells and a model are added.

    Attributes
    ----------
    fingerprint
        What the stage's result depends on; None outside a pipeline.
    """

    def __init__(self, journal: Journal, fingerprint: Fingerprint | None) -> None:
        self.fingerprint = fingerprint
        self._journal = journal

    def metrics(self, values: Mapping[str, object]) -> None:
        """Record the numbers among `values`; nested mappings become dotted names."""
        if found := numbers(values):
            self._journal.write("metrics", metrics=found)

    def headline(self, values: Mapping[str, object]) -> None:
        """Record that by which invocations of DVC are compared: with theirs, too."""
        tags = {key: value for key, value in flat(values).items() if isinstance(value, str)}
        self._journal.write("headline", metrics=numbers(values), tags=tags)

    def curve(self, name: str, points: Sequence[tuple[int, float]]) -> None:
        """Record a metric over steps."""
        self._journal.write("metrics", metrics={}, curves={name: points})

    def cell(
        self,
        cell: Mapping[str, object],
        metrics: Mapping[str, object],
        curves: Mapping[str, Sequence[tuple[int, float]]],
        chosen: Mapping[str, object] | None = None,
    ) -> None:
        """Record one cell as a run below this one.

        Parameters
        ----------
        cell
            What tells it from the others: source, method, labels_per_class and repeat.
        chosen
            The values that it was tuned to.
        """
        names, params = (
            {key: str(value) for key, value in given.items()} for given in (cell, chosen or {})
        )
        self._journal.write(
            "cell", cell=names, params=params, metrics=numbers(metrics), curves=curves
        )

    def evaluated(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Record what became of cells of earlier stages, with the runs of these cells.

        Parameters
        ----------
        columns, rows
            A table with a row a cell. Columns that tell cells apart are named as in `cell`; the
            others become metrics.
        """
        made_by = [stage.fingerprint.digest for stage in locked().values()]
        table = [dict(zip(columns, row, strict=True)) for row in rows]
        self._journal.write("evaluated", cells=table, made_by=made_by)

    def model(self, path: Path, class_names: Sequence[str], example: "npt.NDArray[Any]") -> None:
        """Record the chosen model, the one to serve.

        Parameters
        ----------
        path
            The .keras file.
        example
            A batch of inputs that the model takes.
        """
        import numpy as np

        self._journal.keep(path, "model.keras")
        np.save(self._journal.files / "example.npy", example, allow_pickle=False)
        self._journal.write("model", class_names=list(class_names), champion=_in_the_workspace())


@contextmanager
def run(
    stage: str, params: Mapping[str, object], *, awaited: bool = True, **tags: str
) -> Iterator[Run]:
    """Record one execution of a stage as an MLflow run.

    Parameters
    ----------
    stage
        The stage's name; with `tags` it makes the run's name.
    params
        What the stage was given: settings, or plain values. Recorded under dotted names.
    awaited
        Whether the block ends only when MLflow has the run, or cannot have it. A stage that takes
        less time than the recorder's start leaves it behind.
    tags
        What the stage works on, such as ``source`` and ``method``.

    Raises
    ------
    GraftError
        When the store cannot be used, before anything else happens; under ``unreachable:
        spool`` a server may be out of reach.
    """
    spool = Spool.here()
    reachable = _check_store(spool)
    journal = spool.new_journal()
    made = fingerprint(stage, **tags) if PIPELINE.exists() else None
    journal.write("start", **_start(stage, params, tags, made))
    recorder = _start_recorder(spool) if reachable else None
    status = "FAILED"
    try:
        with _terminated_as_exception():
            yield Run(journal, made)
        status = "FINISHED"
    except (KeyboardInterrupt, _Terminated):
        status = "KILLED"
        raise
    finally:
        journal.write("end", status=status, metrics=_system_metrics())
        if reachable and awaited and status != "KILLED":
            _wait(spool, journal, recorder)


def _start(
    stage: str, params: Mapping[str, object], tags: Mapping[str, str], made: Fingerprint | None
) -> dict[str, Any]:
    """Return all that is known of a run when it starts."""
    whole = " ".join((stage, *tags.values()))
    calling = invocation()
    return {
        "name": whole,
        "process": str(Process.of(psutil.Process())),
        "invocation": calling
        and {
            "process": str(calling.process),
            "name": calling.name,
            "tags": {"dvc.command": calling.command, **origin()},
        },
        "tags": {
            "stage": stage,
            **tags,
            **origin(),
            **_versions(),
            "mlflow.source.name": f"stages/{stage}.py",
            "mlflow.source.type": "PROJECT",
        },
        "params": {key: str(value) for key, value in flat(redacted(_plain(params))).items()},
        "fingerprint": made and described(made),
    }


def described(made: Fingerprint) -> dict[str, Any]:
    """Return a fingerprint as it goes on record."""
    return {
        "digest": made.digest,
        "command": made.command,
        "params": redacted(made.params),
        "deps": dict(made.deps),
        "data": made.data,
    }


def origin() -> dict[str, str]:
    """Return tags that say which code and which experiment a run belongs to."""
    revision = commit()
    tags = {
        "mlflow.source.git.commit": revision,
        "git.dirty": str(is_dirty(outputs())).lower() if revision else "",
        "dvc.experiment": os.environ.get("DVC_EXP_NAME", ""),
        "dvc.baseline": os.environ.get("DVC_EXP_BASELINE_REV", ""),
    }
    return {key: value for key, value in tags.items() if value}


def _versions() -> dict[str, str]:
    return {
        "version.python": platform.python_version(),
        "version.tensorflow": version("tensorflow"),
        "version.graft": _own_version(),
    }


def _own_version() -> str:
    # Not graft.__version__: every stage would depend on a file that changes with each release.
    try:
        return version("graft")
    except PackageNotFoundError:
        return "not installed"


def _in_the_workspace() -> bool:
    """Whether the stage runs in the repository itself and not in an experiment's copy of it."""
    return Spool.here().root == Path.cwd().resolve()


def _system_metrics() -> dict[str, float]:
    """Return what the process and its children have cost so far."""
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "system/processor_time_seconds": sum(u.ru_utime + u.ru_stime for u in (own, children)),
        "system/wall_time_seconds": time.time() - psutil.Process().create_time(),
        "system/peak_memory_megabytes": max(own.ru_maxrss, children.ru_maxrss) / 1024,
    }


class _Terminated(SystemExit):
    """The process was asked to end: `kill`, or a queue that is stopped."""


@contextmanager
def _terminated_as_exception() -> Iterator[None]:
    """Let SIGTERM unwind the block, as an interrupt does, so that its end goes on record."""

    def unwind(number: int, frame: FrameType | None) -> None:
        raise _Terminated(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, unwind)
    except ValueError:  # not the main thread, which alone handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_store(spool: Spool) -> bool:
    """Look whether the store can be used; return whether it can be reached."""
    if spool.database:
        _check_database(spool.store, spool.database)
        return True
    if _recorder_runs(spool):
        return True  # it has opened the store
    checked = _recorder(spool, "--check")
    if checked.returncode == 0:
        return True
    fault = checked.stderr.removeprefix("graft: ").strip()
    if not may_be_unreachable():
        hint = (
            f"with `tracking: {{unreachable: spool}}` in {PARAMS} the stage would run all the same"
        )
        raise GraftError(f"{fault}; {hint}")
    _say(f"{fault}; the run is kept in {spool.folder}: bring it to MLflow with `graft record`")
    return False


def may_be_unreachable() -> bool:
    """Whether params.yaml lets the pipeline run without a server that it could not reach."""
    declared = read_declared(PARAMS, _Declared) if PARAMS.exists() else _Declared()
    return declared.tracking.unreachable == "spool"


def _check_database(uri: str, path: Path) -> None:
    """Find out what is wrong with a database, in a moment; a new one is made later."""
    try:
        if path.exists():
            connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=0)
            with connection:
                connection.execute("SELECT count(*) FROM sqlite_master")
            connection.close()
        elif not path.parent.is_dir():
            raise NotADirectoryError(f"{path.parent} is no folder")
    except (sqlite3.DatabaseError, OSError) as error:
        if "locked" in str(error):
            return  # by another program, for a while
        raise GraftError(
            f"the MLflow store {without_user(uri)} cannot be opened: {error}; mend it, or set "
            "MLFLOW_TRACKING_URI to another one"
        ) from None


def _recorder_runs(spool: Spool) -> bool:
    if not spool.folder.is_dir():
        return False
    try:
        with spool.recorder_lock():
            return False
    except Timeout:
        return True


def _start_recorder(spool: Spool) -> "subprocess.Popen[bytes] | None":
    """Start a recorder, unless one runs. It goes on until nothing is left to record."""
    if _recorder_runs(spool):
        return None
    return subprocess.Popen(  # noqa: S603
        _recorder_command(),
        cwd=spool.root,
        env=_recorder_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _recorder(spool: Spool, option: str) -> "subprocess.CompletedProcess[str]":
    """Run the recorder for one task, and wait for it."""
    return subprocess.run(  # noqa: S603
        [*_recorder_command(), option],
        cwd=spool.root,
        env=_recorder_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def _recorder_command() -> list[str]:
    return [sys.executable, "-m", "graft.recording"]


def _recorder_environment() -> dict[str, str]:
    """Return the environment in which a recorder finds graft, also if this copy of it goes."""
    here = Path(__file__).resolve().parents[3]
    found = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(here))))
    return {**os.environ, "PYTHONPATH": found}


def _wait(spool: Spool, journal: Journal, recorder: "subprocess.Popen[bytes] | None") -> None:
    """Wait until MLflow has the run; if it cannot have it now, say so and leave it be."""
    patience = time.monotonic() + _PATIENCE
    while journal.path.exists():
        starting = recorder is not None and recorder.poll() is None
        if not (starting or _recorder_runs(spool)):
            _deliver(spool, journal)
            return
        if time.monotonic() > patience:
            return  # the recorder is slow, but at it
        time.sleep(0.05)


def _deliver(spool: Spool, journal: Journal) -> None:
    """Do what no recorder does."""
    done = _recorder(spool, "--once")
    if done.returncode or journal.path.exists():
        lines = done.stderr.strip().splitlines() or ["another process is at it"]
        _say(
            f"{lines[-1].removeprefix('graft: ')}; the run is kept in {spool.folder}: bring it to "
            "MLflow with `graft record`"
        )


def _say(message: str) -> None:
    print(f"graft: {message}", file=sys.stderr)


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def numbers(values: Mapping[str, object]) -> dict[str, float]:
    """Return the numbers in nested mappings, under dotted names."""
    return {k: float(v) for k, v in flat(values).items() if isinstance(v, int | float)}


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested mappings as one, under dotted names."""
    found: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
