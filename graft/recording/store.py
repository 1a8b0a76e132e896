"""MLflow's store, as far as graft uses it."""

import json
import logging
import os
import posixpath
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graft.core.collector import uncollected
from graft.core.errors import GraftError
from graft.core.imports import lean_imports
from graft.core.tracking.redaction import without_user
from graft.core.tracking.spool import Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "graft"
_BATCH = 1000
_BATCH_OF_PARAMS = 100
_LONGEST_NAME = 250
_LONGEST_PARAM = 6000
_LONGEST_TAG = 5000
_PARENT = "mlflow.parentRunId"

_SETTINGS = {
    # A server that is down is found out in seconds; MLflow's own settings take minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}

Curves = Mapping[str, Sequence[tuple[int, float]]]


class Store:
    """graft's experiment in a store.

    Open it under `Spool.delivery_lock`.

    Raises
    ------
    GraftError
        When the store cannot be opened.
    """

    def __init__(self, spool: Spool) -> None:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        # An exported run would be taken for the parent of those that are made here.
        os.environ.pop("MLFLOW_RUN_ID", None)
        # As in its slim package, MLflow records without what its model formats need.
        with warnings.catch_warnings(), lean_imports("pyarrow", "scipy"):
            warnings.simplefilter("ignore")
            import mlflow
            import sqlalchemy.exc
            from mlflow.exceptions import MlflowException

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        try:
            with uncollected():  # a database is one more large import
                mlflow.set_tracking_uri(spool.store)
                self.client: MlflowClient = mlflow.MlflowClient()
                self.experiment = _experiment(self.client, spool)
        except (MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            message = (
                f"the MLflow store {spool.store} cannot be opened: {first_line}; "
                "mend it, or set MLFLOW_TRACKING_URI to another one"
            )
            raise GraftError(without_user(message)) from None

    def create(
        self, name: str, tags: Mapping[str, str], *, start: int, parent: str | None = None
    ) -> str:
        """Make a run that goes on; return its id."""
        all_tags = {key: value[:_LONGEST_TAG] for key, value in tags.items()}
        if parent:
            all_tags[_PARENT] = parent
        made = self.client.create_run(self.experiment, start, all_tags, name)
        return str(made.info.run_id)

    def end(self, run_id: str, status: str, time: int) -> None:
        """End a run: FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run_id, status, time)

    def log(
        self,
        run_id: str,
        time: int,
        *,
        params: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        curves: Curves | None = None,
    ) -> None:
        """Add params, metrics and curves (metrics over steps) to a run."""
        from mlflow.entities import Metric, Param

        rows = [Metric(_allowed(name), value, time, 0) for name, value in (metrics or {}).items()]
        rows += [
            Metric(_allowed(name), value, time, step)
            for name, points in (curves or {}).items()
            for step, value in points
        ]
        given = [
            Param(_allowed(key), value[:_LONGEST_PARAM]) for key, value in (params or {}).items()
        ]
        while rows or given:
            # At most 1000 of anything in a request, and at most 100 parameters.
            now, given = given[:_BATCH_OF_PARAMS], given[_BATCH_OF_PARAMS:]
            room = _BATCH - len(now)
            self.client.log_batch(run_id, metrics=rows[:room], params=now)
            rows = rows[room:]

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add tags to a run."""
        for name, value in tags.items():
            self.client.set_tag(run_id, _allowed(name), value[:_LONGEST_TAG])

    def log_fingerprint(self, run_id: str, made: Mapping[str, Any]) -> None:
        """Keep a fingerprint with a run, and the data among it as MLflow's inputs."""
        from mlflow.entities import Dataset, DatasetInput

        self.client.log_dict(run_id, dict(made), "fingerprint.json")
        inputs = [
            DatasetInput(Dataset(path, made["deps"][path], "local", json.dumps({"uri": path})))
            for path in made["data"]
        ]
        if inputs:
            self.client.log_inputs(run_id, inputs)

    def find(self, **conditions: str) -> "list[Run]":
        """Return the runs with these tags, the newest first; ``status`` is no tag.

        A dot in the name of a tag is written as two underscores.
        """
        parts = [
            f"attributes.status = '{value}'"
            if name == "status"
            else f"tags.`{name.replace('__', '.')}` = '{value}'"
            for name, value in conditions.items()
        ]
        found: list[Run] = []
        token: str | None = None
        while True:
            page = self.client.search_runs(
                [self.experiment],
                " and ".join(parts),
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            found += page
            token = page.token
            if not token:
                return found

    def model_versions(self, name: str, run_id: str) -> list[str]:
        """Return the versions of a registered model that came of a run, the newest first."""
        found = self.client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        return sorted((str(each.version) for each in found), key=int, reverse=True)

    def register(self, name: str, model_id: str, run_id: str) -> None:
        """Make a logged model the newest version of a registered one."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            self.client.create_registered_model(name)
        self.client.create_model_version(name, f"models:/{model_id}", run_id, model_id=model_id)

    def children(self, parent: str, **conditions: str) -> "list[Run]":
        """Return the runs right below another one."""
        return self.find(mlflow__parentRunId=parent, **conditions)


def parents(runs: "Iterable[Run]") -> list[str]:
    """Return the ids of the runs right above others, each once, in the order given."""
    return list(dict.fromkeys(r.data.tags[_PARENT] for r in runs if _PARENT in r.data.tags))


def _allowed(name: str) -> str:
    """Return a name that MLflow takes: one that it refuses would hold up all other runs."""
    clean = re.sub(r"[^/\w.\- :]", "_", name)[:_LONGEST_NAME]
    is_path = posixpath.normpath(clean) == clean and not clean.startswith(("/", ".."))
    return clean if is_path else clean.replace("/", "_").replace("..", "_") or "_"


def _experiment(client: "MlflowClient", spool: Spool) -> str:
    """Return the id of graft's experiment, made on first use."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    # MLflow freezes the location of artifacts at creation, for a database by default below the
    # working directory, which in some of DVC's modes is a copy that is deleted.
    location = (spool.root / "mlruns").as_uri() if spool.database else None
    # Without the tag, MLflow's page opens on language models.
    tags = {"mlflow.experimentKind": "custom_model_development"}
    return str(client.create_experiment(name, artifact_location=location, tags=tags))
