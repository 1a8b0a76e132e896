"""A plain convolutional network for small images, 8x8 to 28x28."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from graft.networks.base import Architecture

if TYPE_CHECKING:
    import keras


class SmallCNN(Architecture):
    """Two blocks of two 3x3 convolutions, each closed by a 2x2 max-pooling, and a dense layer."""

    body_blocks: ClassVar[tuple[str, ...]] = ("block1", "block2", "block3")
    name: Literal["small_cnn"] = "small_cnn"
    image_size: int = Field(default=8, ge=4, le=64)
    channels: Literal[1, 3] = 1
    width: int = Field(default=32, ge=1, le=512)

    def body(self, inputs: "keras.KerasTensor") -> "keras.KerasTensor":
        """Return 4 * `width` features."""
        from keras import layers

        x = inputs
        for block, width in (("block1", self.width), ("block2", 2 * self.width)):
            for number in (1, 2):
                x = layers.Conv2D(
                    width, 3, padding="same", activation="relu", name=f"{block}_conv{number}"
                )(x)
            x = layers.MaxPooling2D(2, name=f"{block}_pool")(x)
        x = layers.Flatten(name="block3_flatten")(x)
        return layers.Dense(4 * self.width, activation="relu", name="block3_dense")(x)
