"""What an architecture is: the body between the adapter and the head, and how all is built."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from graft.core.network import HEAD, Network
from graft.core.settings import Settings
from graft.networks.adapters import ADAPTERS

if TYPE_CHECKING:
    import keras


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
