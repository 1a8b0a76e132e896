"""What R(theta_tgt; theta_src) is: one number from the target, the source and a batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from graft.core.errors import GraftError
from graft.core.network import HEAD, Network
from graft.core.settings import Settings

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Scope = Literal["kernels", "all"]
Arrays = dict[str, npt.NDArray[np.float32]]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Batch(NamedTuple):
    """What a training step knows when the penalty is computed.

    Attributes
    ----------
    inputs
        Raw inputs, uint8, (batch, height, width, channels).
    targets
        One-hot labels, float32, (batch, classes).
    features
        The target network's representation of `inputs`, float32, (batch, d).
    logits
        The target network's logits, float32, (batch, classes).
    maps
        The target network's outputs of the layers that `Penalty.watched` names.
    measured
        What `Penalty.measure` returned for this cell.
    """

    inputs: "tf.Tensor"
    targets: "tf.Tensor"
    features: "tf.Tensor"
    logits: "tf.Tensor"
    maps: "Mapping[str, tf.Tensor]" = _NOTHING
    measured: "Mapping[str, tf.Tensor]" = _NOTHING


@dataclass(frozen=True)
class SourceTask:
    """The source as it was trained: its own network, head included, and its own examples.

    Its raw inputs may have another shape than the target's; the two networks share the body,
    so that the source's head reads the target network's features.

    Attributes
    ----------
    network
        The source's model.
    inputs, labels
        The examples that it was trained on; they may be memory-mapped.
    validation_inputs, validation_labels
        Those that were held out.
    """

    network: Network
    inputs: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    validation_inputs: npt.NDArray[Any]
    validation_labels: npt.NDArray[Any]

    @property
    def head(self) -> Arrays:
        """The head's ``kernel``, (d, source classes), and ``bias``, (source classes,)."""
        tensors = self.network.tensors
        return {part: np.array(tensors[f"{HEAD}/{part}"].numpy()) for part in ("kernel", "bias")}


@dataclass(frozen=True)
class Evidence:
    """What a penalty may look at once, before the first step.

    Attributes
    ----------
    source
        The source task.
    theta_0
        The target network at theta_0.
    inputs, labels
        The cell's labelled target examples.
    """

    source: SourceTask
    theta_0: Network
    inputs: npt.NDArray[Any]
    labels: npt.NDArray[Any]


class Penalty(Settings, ABC):
    """A regulariser; its fields are its hyper-parameters, `strength` the article's lambda.

    `needs_source` says whether it compares with the source's weights, which a network that
    starts at random does not have. `measures` says on what `measure` depends, and so how often
    it is called: on the source alone, once per method; on the cell's labels, once per cell.
    """

    needs_source: ClassVar[bool] = True
    measures: ClassVar[Literal["nothing", "source", "cell"]] = "nothing"
    name: str
    strength: float = Field(ge=0)

    @abstractmethod
    def __call__(self, target: Network, source: Network, batch: Batch) -> "tf.Tensor":
        """Return the penalty, strength included, as a float32 scalar.

        Parameters
        ----------
        target
            The network in training.
        source
            The same network at theta_0: what was copied from the source, and a new head at
            zero. It never changes.
        batch
            The batch of this step.
        """

    def measure(self, evidence: Evidence) -> Arrays:
        """Return arrays to find in `Batch.measured`, of the same shapes for every cell."""
        return {}

    def watched(self, network: Network) -> tuple[str, ...]:
        """Return the names of the layers whose outputs to find in `Batch.maps`."""
        return ()

    def proximal(
        self, path: str, weight: "tf.Tensor", origin: "tf.Tensor", rate: "tf.Tensor"
    ) -> "tf.Tensor":
        """Return what becomes of a trained tensor after each update; by default it stays.

        Parameters
        ----------
        path
            The tensor's path.
        weight, origin
            Its value after the update, and at theta_0.
        rate
            The learning rate of this step and this block.
        """
        return weight

    @property
    def smallest_batch(self) -> int:
        """How many examples a batch must hold at least."""
        return 1

    def check_batch(self, batch_size: int) -> None:
        """Raise a GraftError where batches of `batch_size` are too small."""
        if batch_size < self.smallest_batch:
            raise GraftError(
                f"penalty {self.name!r}: received batches of {batch_size}; expected a batch_size "
                f"of at least {self.smallest_batch}; raise finetune.training.batch_size"
            )


def scoped(network: Network, scope: Scope) -> "Iterator[tuple[str, keras.Variable]]":
    """Yield the path and variable of every parameter in scope.

    ``kernels`` are the weights of convolutions and dense layers; ``all`` adds biases and
    BatchNorm's scale and shift. Moving statistics are no parameters.
    """
    for path, variable in network.parameters.items():
        if in_scope(path, scope):
            yield path, variable


def in_scope(path: str, scope: Scope) -> bool:
    """Whether the parameter at `path` is in scope."""
    return scope == "all" or path.endswith("/kernel")


def evenly_spaced(count: int, wanted: int) -> npt.NDArray[np.intp]:
    """Return at most `wanted` of `count` rows, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(np.intp))
