"""What every network is to the rest of graft: blocks of named layers between pixels and classes.

A network is one flat, plain Keras model. Its layers are named ``BLOCK_WHAT``, and the part
before the first underscore is the block: strategies speak of blocks, receipts of tensors.
In order: the `adapter` (shape, channels and scale of the raw input; nothing to learn), the
body's own blocks, ``features`` (where the representation can be read), ``head`` (logits) and
``probabilities``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from graft.core.settings import Settings
from graft.networks.adapters import ADAPTERS

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Weights = dict[str, npt.NDArray[Any]]

HEAD = "head"
# Of inference. Larger batches are no faster, and take more memory.
BATCH_SIZE = 128
_UNLEARNED = ("adapter", "features", "probabilities")


class Architecture(Settings, ABC):
    """A kind of network; its fields are what params.yaml says about it.

    `image_size` and `channels` are what the body sees: the adapter brings each task's own
    images to them. `body_blocks` names the body's blocks, input first, before anything is built.
    """

    body_blocks: ClassVar[tuple[str, ...]]
    name: str
    image_size: int = Field(ge=4, le=1024)
    channels: Literal[1, 3]

    @abstractmethod
    def body(self, inputs: "keras.KerasTensor") -> "keras.KerasTensor":
        """Return the feature representation, (batch, d), of adapted inputs."""

    def build(
        self, input_shape: Sequence[int], num_classes: int, *, seed: int, kind: str = "image"
    ) -> "Network":
        """Return a freshly initialised network for raw inputs of `input_shape`.

        Keras draws initial weights from one global stream, so that stream is set to `seed`
        here, for nothing but the drawing of these weights.
        """
        import keras

        keras.utils.set_random_seed(seed)
        raw = keras.Input(tuple(input_shape), dtype="uint8", name="raw")
        adapted = ADAPTERS[kind](raw, self.image_size, self.channels)
        features = keras.layers.Identity(name="features")(self.body(adapted))
        logits = keras.layers.Dense(num_classes, name=HEAD)(features)
        probabilities = keras.layers.Softmax(name="probabilities")(logits)
        return Network(keras.Model(raw, probabilities, name=self.name))


class Network:
    """A Keras model of graft's, seen as blocks, named tensors, features and probabilities."""

    def __init__(self, model: "keras.Model") -> None:
        self.model = model

    @cached_property
    def outputs(self) -> "keras.Model":
        """The model from raw inputs to the pair (features, logits)."""
        return self.watched(())

    def watched(self, layers: Sequence[str]) -> "keras.Model":
        """Return the model from raw inputs to features, logits and the outputs of `layers`."""
        import keras

        names = ("features", HEAD, *layers)
        return keras.Model(self.model.input, [self.model.get_layer(n).output for n in names])

    @cached_property
    def blocks(self) -> tuple[str, ...]:
        """Names of the blocks that can learn, from the input to the head."""
        names = (_block(layer.name) for layer in self.model.layers if layer.weights)
        return tuple(dict.fromkeys(name for name in names if name not in _UNLEARNED))

    @cached_property
    def body(self) -> "list[keras.layers.Layer]":
        """The layers between the adapter and the features."""
        named = ((_block(layer.name), layer) for layer in self.model.layers)
        return [layer for block, layer in named if block not in ("raw", HEAD, *_UNLEARNED)]

    @cached_property
    def tensors(self) -> "dict[str, keras.Variable]":
        """Every variable by its path, BatchNorm's moving statistics included."""
        return {v.path: v for layer in self.model.layers for v in layer.weights}

    @cached_property
    def parameters(self) -> "dict[str, keras.Variable]":
        """The variables that a gradient can move: all but the moving statistics."""
        return {
            path: variable
            for path, variable in self.tensors.items()
            if not path.rsplit("/", 1)[-1].startswith("moving_")
        }

    @cached_property
    def batch_norms(self) -> "list[keras.layers.BatchNormalization]":
        """The BatchNorm layers, from the input to the head."""
        import keras

        kind = keras.layers.BatchNormalization
        return [layer for layer in self.model.layers if isinstance(layer, kind)]

    @cached_property
    def convolutions(self) -> "list[keras.layers.Conv2D]":
        """The convolutions, from the input to the head."""
        import keras

        return [layer for layer in self.model.layers if isinstance(layer, keras.layers.Conv2D)]

    @property
    def num_classes(self) -> int:
        """How many classes the head tells apart."""
        return int(self.model.output.shape[-1])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one raw input, (height, width, channels)."""
        return tuple(int(size) for size in self.model.input.shape[1:])

    def weights(self) -> Weights:
        """Return a copy of every tensor by its path."""
        return {path: np.array(variable.numpy()) for path, variable in self.tensors.items()}

    def assign(self, weights: Mapping[str, npt.NDArray[Any]]) -> None:
        """Set the named tensors; the others stay."""
        for path, value in weights.items():
            self.tensors[path].assign(value)

    def copy(self) -> "Network":
        """Return a network of its own with the same layers and weights."""
        import keras

        twin = Network(keras.models.clone_model(self.model))
        twin.assign(self.weights())
        return twin

    def recompute_statistics(self, inputs: npt.NDArray[Any]) -> None:
        """Take BatchNorm's moving statistics anew from raw `inputs`.

        One pass in training mode over at most 1,024 of them, evenly spaced.
        """
        rows = np.unique(np.linspace(0, len(inputs) - 1, min(len(inputs), 1024)).astype(int))
        momenta = [layer.momentum for layer in self.batch_norms]
        for layer in self.batch_norms:
            layer.trainable, layer.momentum = True, 0.0
        self.outputs(np.ascontiguousarray(inputs[rows]), training=True)
        for layer, momentum in zip(self.batch_norms, momenta, strict=True):
            layer.momentum = momentum

    def probabilities(
        self, inputs: npt.NDArray[Any], batch_size: int = BATCH_SIZE
    ) -> npt.NDArray[Any]:
        """Return float32 class probabilities, (n, classes), of raw inputs."""
        import tensorflow as tf

        def rows(batch: "tf.Tensor") -> "tf.Tensor":
            return tf.nn.softmax(self._forward(batch)[1])

        return _in_batches(rows, inputs, batch_size, self.num_classes)

    def features(
        self,
        inputs: npt.NDArray[Any],
        batch_size: int = BATCH_SIZE,
        on_rows: Callable[[int], None] | None = None,
    ) -> npt.NDArray[Any]:
        """Return the float32 feature representation, (n, d), of raw inputs.

        `on_rows` is called with the number of rows of each batch that is done.
        """
        width = int(self.model.get_layer("features").output.shape[-1])
        return _in_batches(
            lambda batch: self._forward(batch)[0], inputs, batch_size, width, on_rows
        )

    @cached_property
    def _forward(self) -> Any:
        import tensorflow as tf

        signature = tf.TensorSpec((None, *self.input_shape), tf.uint8)
        return tf.function(
            lambda batch: self.outputs(batch, training=False),
            input_signature=[signature],
            autograph=False,
        )


def _in_batches(
    rows: Any,
    inputs: npt.NDArray[Any],
    batch_size: int,
    width: int,
    on_rows: Callable[[int], None] | None = None,
) -> npt.NDArray[Any]:
    result = np.empty((len(inputs), width), np.float32)
    for start in range(0, len(inputs), batch_size):
        part = slice(start, start + batch_size)
        result[part] = rows(np.ascontiguousarray(inputs[part])).numpy()
        if on_rows is not None:
            on_rows(len(result[part]))
    return result


def block_of(path: str) -> str:
    """Return the block to which a tensor belongs, from its path ``LAYER/TENSOR``."""
    return _block(path.split("/", 1)[0])


def _block(layer_name: str) -> str:
    return layer_name.split("_", 1)[0]
