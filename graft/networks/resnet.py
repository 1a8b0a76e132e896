"""A compact residual network with BatchNorm for images of about 32x32.

After He et al. (2016), "Deep Residual Learning for Image Recognition", section 4.2, with one
residual unit in each of three stages: small enough to train on two processor cores.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from graft.networks.base import Architecture

if TYPE_CHECKING:
    import keras


class ResNet(Architecture):
    """A 3x3 stem and three residual blocks that double the width and halve the size."""

    body_blocks: ClassVar[tuple[str, ...]] = ("stem", "block1", "block2", "block3")
    name: Literal["resnet"] = "resnet"
    image_size: int = Field(default=32, ge=8, le=256)
    channels: Literal[1, 3] = 3
    width: int = Field(default=16, ge=1, le=256)

    def body(self, inputs: "keras.KerasTensor") -> "keras.KerasTensor":
        """Return 4 * `width` features, averaged over the image."""
        from keras import layers

        x = _convolution(inputs, self.width, 3, "stem_conv1")
        x = layers.ReLU(name="stem_relu")(x)
        for number, factor in enumerate((1, 2, 4), start=1):
            x = _residual(x, factor * self.width, 1 if number == 1 else 2, f"block{number}")
        return layers.GlobalAveragePooling2D(name="block3_average")(x)


def _residual(x: "keras.KerasTensor", width: int, strides: int, block: str) -> "keras.KerasTensor":
    from keras import layers

    shortcut = x
    if strides != 1 or x.shape[-1] != width:
        shortcut = _convolution(x, width, 1, f"{block}_convshortcut", strides)
    y = _convolution(x, width, 3, f"{block}_conv1", strides)
    y = layers.ReLU(name=f"{block}_relu1")(y)
    y = _convolution(y, width, 3, f"{block}_conv2")
    y = layers.Add(name=f"{block}_add")([shortcut, y])
    return layers.ReLU(name=f"{block}_relu2")(y)


def _convolution(
    x: "keras.KerasTensor", width: int, size: int, name: str, strides: int = 1
) -> "keras.KerasTensor":
    from keras import layers

    # Keras' default epsilon is 1e-3 and momentum 0.99, for long runs; 0.9 settles in a short one.
    x = layers.Conv2D(
        width,
        size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    name = name.replace("_conv", "_bn")
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)
