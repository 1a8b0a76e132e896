"""What R(theta_tgt; theta_src) is: one number from the target, the source and a batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from graft.networks.base import Network
from graft.settings import Settings

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Scope = Literal["kernels", "all"]


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
    """

    inputs: "tf.Tensor"
    targets: "tf.Tensor"
    features: "tf.Tensor"
    logits: "tf.Tensor"


class Penalty(Settings, ABC):
    """A regulariser; its fields are its hyper-parameters, `strength` the article's lambda.

    `needs_source` says whether it compares with the source's weights, which a network that
    starts at random does not have.
    """

    needs_source: ClassVar[bool] = True
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


def scoped(network: Network, scope: Scope) -> "Iterator[tuple[str, keras.Variable]]":
    """Yield the path and variable of every parameter in scope.

    ``kernels`` are the weights of convolutions and dense layers; ``all`` adds biases and
    BatchNorm's scale and shift. Moving statistics are no parameters.
    """
    for path, variable in network.parameters.items():
        if scope == "all" or path.endswith("/kernel"):
            yield path, variable
