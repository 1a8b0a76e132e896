"""What MLflow serves: raw inputs go in, class probabilities come out.

MLflow keeps a copy of this file beside the model; it needs Keras and nothing of graft.
"""

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class ServedModel(PythonModel):  # type: ignore[misc]
    """A .keras file, its code switched off."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model."""
        import keras

        path = context.artifacts["model"]
        self._model = keras.saving.load_model(path, compile=False, safe_mode=True)

    # MLflow takes annotations here for a schema of its own kind, which has no arrays.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Return one row of probabilities for each input, in the order of ``class_names``."""
        return self._model.predict(model_input, verbose=0)


set_model(ServedModel())
