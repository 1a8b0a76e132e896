"""The losses of the article, each the mean over a batch."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import tensorflow as tf

LossName = Literal["cross_entropy", "mean_squared_error"]


def cross_entropy(targets: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
    """Return the mean cross-entropy of softmax(logits) against one-hot targets, in nats."""
    import tensorflow as tf

    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))


def mean_squared_error(targets: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
    """Return the mean over examples and classes of (one-hot target - softmax(logits))^2."""
    import tensorflow as tf

    return tf.reduce_mean(tf.math.squared_difference(targets, tf.nn.softmax(logits)))


LOSSES: "dict[LossName, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]" = {
    "cross_entropy": cross_entropy,
    "mean_squared_error": mean_squared_error,
}
