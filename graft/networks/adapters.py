"""The first layers of every network: from a task's raw inputs to what the body expects.

They are part of the saved model, so that preprocessing travels with it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def image_adapter(raw: "keras.KerasTensor", image_size: int, channels: int) -> "keras.KerasTensor":
    """Bring uint8 images to (image_size, image_size, channels), float32 in [0, 1].

    Grey becomes colour by repetition, colour becomes grey by its luma (ITU-R BT.601).
    """
    import keras

    images = keras.layers.Rescaling(1 / 255, name="adapter_scale")(raw)
    given = int(raw.shape[-1])
    if given == 1 and channels == 3:
        images = keras.layers.Concatenate(name="adapter_colour")([images, images, images])
    elif given == 3 and channels == 1:
        images = keras.ops.image.rgb_to_grayscale(images)
        # Keras numbers an unnamed operation by how many came before it in the process.
        images._keras_history.operation.name = "adapter_grey"
    if tuple(raw.shape[1:3]) != (image_size, image_size):
        images = keras.layers.Resizing(
            image_size, image_size, interpolation="bilinear", antialias=True, name="adapter_resize"
        )(images)
    return images


ADAPTERS: "dict[str, Callable[[keras.KerasTensor, int, int], keras.KerasTensor]]" = {
    "image": image_adapter,
}
