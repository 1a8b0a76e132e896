"""The small network of the article: one convolution, one pooling, one hidden layer."""

from typing import TYPE_CHECKING, ClassVar, Literal

from graft.networks.base import Architecture

if TYPE_CHECKING:
    import keras


class Article(Architecture):
    """Conv 32 3x3 relu, max-pool 2, flatten, Dense 64 relu, head."""

    body_blocks: ClassVar[tuple[str, ...]] = ("block1", "block2")
    name: Literal["article"] = "article"
    image_size: int = 32
    channels: Literal[1, 3] = 3

    def body(self, inputs: "keras.KerasTensor") -> "keras.KerasTensor":
        """Return the 64 features of the hidden layer."""
        from keras import layers

        x = layers.Conv2D(32, 3, activation="relu", name="block1_conv")(inputs)
        x = layers.MaxPooling2D(2, name="block1_pool")(x)
        x = layers.Flatten(name="block2_flatten")(x)
        return layers.Dense(64, activation="relu", name="block2_dense")(x)
