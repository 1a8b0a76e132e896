"""MLflow's record of every executed stage; the only file that imports mlflow.

The store is ``mlflow.db`` in the original repository, also where DVC runs a stage in a copy
that it deletes afterwards. ``MLFLOW_TRACKING_URI`` names another one.
"""

import logging
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from graft.errors import GraftError

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "graft"
_LOCK_SECONDS = 60
_BATCH = 1000


class Run:
    """One stage's run, to which metrics and curves are added."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self._client = client
        self._run_id = run_id

    def metrics(self, values: Mapping[str, object]) -> None:
        """Record the numbers among `values`; nested mappings become dotted names."""
        now = _now()
        flat = _flat(values)
        numbers = {k: float(v) for k, v in flat.items() if isinstance(v, int | float)}
        self._log([(name, value, now, 0) for name, value in numbers.items()])

    def curve(self, name: str, points: Sequence[tuple[int, float]]) -> None:
        """Record a metric over steps."""
        now = _now()
        self._log([(name, value, now, step) for step, value in points])

    def _log(self, rows: list[tuple[str, float, int, int]]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(*row) for row in rows]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(self._run_id, metrics=metrics[start : start + _BATCH])


@contextmanager
def run(stage: str, params: Mapping[str, object], **tags: str) -> Iterator[Run]:
    """Record one execution of a stage as an MLflow run.

    Parameters
    ----------
    stage
        The stage's name; with `tags` it makes the run's name.
    params
        What the stage was given: settings, or plain values. Recorded under dotted names.
    tags
        What the stage works on, such as ``source`` and ``method``.

    Raises
    ------
    GraftError
        When the tracking store cannot be opened.
    """
    from mlflow.entities import Param, RunTag

    client, experiment = _open_store()
    name = " ".join((stage, *tags.values()))
    all_tags = {"stage": stage, **tags, **_origin(), "mlflow.source.name": f"stages/{stage}.py"}
    created = client.create_run(experiment, start_time=_now(), tags=all_tags, run_name=name)
    run_id = created.info.run_id
    flat = {key: str(value) for key, value in _flat(_plain(params)).items()}
    try:
        client.log_batch(
            run_id,
            params=[Param(key, value) for key, value in flat.items()],
            tags=[RunTag("mlflow.source.type", "PROJECT")],
        )
        yield Run(client, run_id)
    except BaseException:
        client.set_terminated(run_id, "FAILED", _now())
        raise
    client.set_terminated(run_id, "FINISHED", _now())


def _open_store() -> "tuple[MlflowClient, str]":
    """Return a client of the store, and graft's experiment in it.

    One process at a time opens a database: several that create it at once break it.
    """
    import sqlalchemy.exc
    from filelock import FileLock, Timeout
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_root() / 'mlflow.db'}"
    try:
        lock = FileLock(_root() / "mlflow.db.lock", timeout=_LOCK_SECONDS)
        with lock if uri.startswith("sqlite:") else nullcontext():
            client = MlflowClient(uri)
            return client, _experiment(client, uri)
    except Timeout:
        raise GraftError(
            f"another process has held {_root() / 'mlflow.db.lock'} for {_LOCK_SECONDS} s; "
            "end that process and try again"
        ) from None
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise GraftError(
            f"the MLflow store {uri} cannot be opened: {first_line}; "
            "mend it, or set MLFLOW_TRACKING_URI to another one"
        ) from None


def _experiment(client: "MlflowClient", uri: str) -> str:
    """Return the id of graft's experiment, made on first use."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    # MLflow freezes the location of artifacts at creation, for a database by default below the
    # working directory, which in some of DVC's modes is a copy that is deleted.
    location = (_root() / "mlruns").as_uri() if uri.startswith("sqlite:") else None
    return str(client.create_experiment(name, artifact_location=location))


def _root() -> Path:
    """Return the original repository: DVC names it in every mode."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def _origin() -> dict[str, str]:
    """Return tags that say which code and which experiment a run belongs to."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    experiment = os.environ.get("DVC_EXP_NAME", "")
    tags = {"mlflow.source.git.commit": commit, "dvc.experiment": experiment}
    return {key: value for key, value in tags.items() if value}


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _now() -> int:
    return int(time.time() * 1000)
