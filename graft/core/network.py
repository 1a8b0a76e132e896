"""What every network is to the rest of graft: blocks of named layers between pixels and classes.

A network is one flat, plain Keras model. Its layers are named ``BLOCK_WHAT``, and the part
before the first underscore is the block: strategies speak of blocks, receipts of tensors.
In order: the `adapter` (shape, channels and scale of the raw input; nothing to learn), the
body's own blocks, ``features`` (where the representation can be read), ``head`` (logits) and
``probabilities``.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Weights = dict[str, npt.NDArray[Any]]

HEAD = "head"
# Of inference. Larger batches are no faster, and take more memory.
BATCH_SIZE = 128
# What one call of TensorFlow is given of them, if that is more than a batch.
_CALL_BYTES = 4 << 20
_UNLEARNED = ("adapter", "features", "probabilities")


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
        return self._inferred(self._probabilities, self.num_classes, inputs, batch_size)

    def features(
        self,
        inputs: npt.NDArray[Any],
        batch_size: int = BATCH_SIZE,
        on_rows: Callable[[int], None] | None = None,
    ) -> npt.NDArray[Any]:
        """Return the float32 feature representation, (n, d), of raw inputs.

        `on_rows` is called with the number of rows that are done, every few batches.
        """
        width = int(self.model.get_layer("features").output.shape[-1])
        return self._inferred(self._features, width, inputs, batch_size, on_rows)

    def _inferred(
        self,
        function: Any,
        width: int,
        inputs: npt.NDArray[Any],
        batch_size: int,
        on_rows: Callable[[int], None] | None = None,
    ) -> npt.NDArray[Any]:
        result = np.empty((len(inputs), width), np.float32)
        batches = max(1, _CALL_BYTES // (batch_size * math.prod(self.input_shape)))
        for start in range(0, len(inputs), batches * batch_size):
            part = slice(start, start + batches * batch_size)
            result[part] = function(np.ascontiguousarray(inputs[part]), batch_size).numpy()
            if on_rows is not None:
                on_rows(len(result[part]))
        return result

    @cached_property
    def _probabilities(self) -> Any:
        import tensorflow as tf

        return _batched(
            lambda images: tf.nn.softmax(self.outputs(images, training=False)[1]), self.input_shape
        )

    @cached_property
    def _features(self) -> Any:
        return _batched(lambda images: self.outputs(images, training=False)[0], self.input_shape)


def _batched(rows: "Callable[[tf.Tensor], tf.Tensor]", input_shape: tuple[int, ...]) -> Any:
    """Return the compiled function of images and a batch size that applies `rows` by batches.

    The batches of one call follow each other inside of TensorFlow: to call it for each took a
    quarter of the time of a small network.
    """
    import tensorflow as tf

    def batched(images: "tf.Tensor", batch_size: "tf.Tensor") -> "tf.Tensor":
        def step(start: "tf.Tensor", done: "tf.TensorArray") -> "tuple[tf.Tensor, tf.TensorArray]":
            end = start + batch_size
            return end, done.write(start // batch_size, rows(images[start:end]))

        count = tf.shape(images)[0]
        done = tf.TensorArray(tf.float32, size=0, dynamic_size=True, infer_shape=False)
        _, done = tf.while_loop(
            lambda start, _: start < count, step, (0, done), parallel_iterations=1
        )
        return done.concat()

    signature = [tf.TensorSpec((None, *input_shape), tf.uint8), tf.TensorSpec((), tf.int32)]
    return tf.function(batched, input_signature=signature, autograph=False)


def block_of(path: str) -> str:
    """Return the block to which a tensor belongs, from its path ``LAYER/TENSOR``."""
    return _block(path.split("/", 1)[0])


def _block(layer_name: str) -> str:
    return layer_name.split("_", 1)[0]
