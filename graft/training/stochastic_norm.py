"""StochNorm: BatchNorm that picks, channel by channel, the moving or the batch's statistics.

Kou, You, Long, Wang (2020), "Stochastic Normalization". Each channel of each layer draws anew
in every step of training, with probability one half; at inference it is plain BatchNorm. The
moving statistics go on as in plain training: Keras's momentum 0.9 is the paper's 0.1.
"""

from typing import TYPE_CHECKING

from graft.core.network import Network

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

SHARE = 0.5


def with_stochastic_norm(model: "keras.Model", seed: "tf.Variable") -> "keras.Model":
    """Return `model` with its BatchNorm layers made stochastic in training.

    It shares every layer and weight with `model`, which itself stays as it is: what is saved
    is plain Keras.

    Parameters
    ----------
    seed
        int32, (2,): what the draws depend on. Change it before every step.
    """
    import keras
    import tensorflow as tf

    names = [layer.name for layer in Network(model).batch_norms]

    class StochasticNorm(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, norm: "keras.layers.BatchNormalization") -> None:
            super().__init__(name=f"{norm.name}_stochastic")
            self.norm = norm
            self.number = names.index(norm.name)

        def call(
            self,
            inputs: "tf.Tensor",
            training: bool | None = None,
            mask: "tf.Tensor | None" = None,
        ) -> "tf.Tensor":
            # The moving statistics are those before this batch, so that layer comes first.
            moving = self.norm(inputs, training=False, mask=mask)
            if not training:
                return moving
            batch = self.norm(inputs, training=True, mask=mask)
            own_seed = tf.add(seed, [0, self.number])
            drawn = tf.random.stateless_uniform((inputs.shape[-1],), own_seed)
            return tf.where(drawn < SHARE, batch, moving)

    def layer_of(layer: "keras.layers.Layer") -> "keras.layers.Layer":
        return StochasticNorm(layer) if layer.name in names else layer

    return keras.models.clone_model(model, clone_function=layer_of)
