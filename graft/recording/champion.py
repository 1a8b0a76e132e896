"""The chosen model as MLflow has it: logged with its run, registered, and served."""

import importlib
import io
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft.recording.store import Store

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

REGISTERED = "graft-target"
CHAMPION = "champion"
_CODE = Path(__file__).with_name("served_model.py")
_REQUIREMENTS = ("mlflow", "keras", "tensorflow", "numpy")


def log_model(
    store: Store, run_id: str, folder: Path, class_names: Sequence[str], *, champion: bool
) -> None:
    """Log the chosen model with its run and register it; once, however often it is tried.

    Parameters
    ----------
    folder
        Holds ``model.keras`` and ``example.npy``, a batch of inputs.
    champion
        Whether it becomes the model that ``models:/graft-target@champion`` means.
    """
    if not store.model_versions(REGISTERED, run_id):
        example = np.load(folder / "example.npy", allow_pickle=False)
        model_id = _logged(store, run_id, folder / "model.keras", class_names, example)
        store.register(REGISTERED, model_id, run_id)
    if champion:
        crown(store, run_id)


def crown(store: Store, run_id: str) -> None:
    """Give the alias to the model of a run, if it has one."""
    versions = store.model_versions(REGISTERED, run_id)
    if versions:
        store.client.set_registered_model_alias(REGISTERED, CHAMPION, versions[0])


def _logged(
    store: Store, run_id: str, path: Path, class_names: Sequence[str], example: "np.ndarray"
) -> str:
    """Return the id of the model, written in MLflow's format.

    `mlflow.pyfunc.log_model` would load the model to try the example: five seconds.
    """
    import mlflow.models
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    # The store imported MLflow as if there were no pandas, which its model formats want.
    importlib.reload(mlflow.models)
    from mlflow.models import Model

    client = store.client
    made = client.create_logged_model(
        store.experiment, "model", source_run_id=run_id, model_type="classifier"
    )
    # MLflow asks for annotations that have no arrays, and shows bars.
    with (
        tempfile.TemporaryDirectory() as workspace,
        warnings.catch_warnings(),
        redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        folder = Path(workspace) / "model"
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(_CODE),
            artifacts={"model": str(path)},
            signature=_signature(example, len(class_names)),
            input_example=example,
            pip_requirements=[f"{name}=={version(name)}" for name in _REQUIREMENTS],
            metadata={"class_names": list(class_names)},
            mlflow_model=Model(
                artifact_path=made.artifact_location, run_id=run_id, model_id=made.model_id
            ),
        )
        client.log_model_artifacts(made.model_id, str(folder))
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    return str(made.model_id)


def _signature(example: "np.ndarray", num_classes: int) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    inputs = TensorSpec(example.dtype, (-1, *example.shape[1:]))
    outputs = TensorSpec(np.dtype(np.float32), (-1, num_classes))
    return ModelSignature(Schema([inputs]), Schema([outputs]))
