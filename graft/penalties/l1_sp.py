"""L1-SP: a pull towards the source's weights that leaves most of them exactly there.

Li, Grandvalet, Davoine (2018), "Explicit Inductive Bias for Transfer Learning with
Convolutional Networks".
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from graft.core.network import HEAD, Network, block_of
from graft.penalties.base import Batch, Penalty, Scope, in_scope, scoped

if TYPE_CHECKING:
    import tensorflow as tf


class L1SP(Penalty):
    """strength * sum_body |w - w0| + head_strength / 2 * sum_head (w - w0)^2.

    The body's term has no gradient here: after each update, w - w0 is soft-thresholded by
    learning rate * strength (a proximal gradient step), which makes exact zeros of it. The
    rate is that of the step and of the block. With Adam the threshold is not scaled per weight
    as its update is, so that the pull is decoupled from the gradient's size, as weight decay
    is in AdamW; a weight moves where its updates, about one rate long, outdo the threshold,
    that is, for a strength below 1.

    A new head starts at zero, so its smooth term is the paper's beta / 2 * sum_head w^2.
    `head_strength` is `strength` unless it is given. It grows with the number of weights, not
    with the batch.
    """

    name: Literal["l1_sp"] = "l1_sp"
    head_strength: float | None = Field(default=None, ge=0)
    scope: Scope = "kernels"

    def __call__(self, target: Network, source: Network, batch: Batch) -> "tf.Tensor":
        """Return the sum over the weights in scope; the gradient is that of the head's term."""
        import tensorflow as tf

        head = self.strength if self.head_strength is None else self.head_strength
        terms = []
        for path, weight in scoped(target, self.scope):
            distance = weight.value - source.parameters[path].value
            if block_of(path) == HEAD:
                terms.append(head / 2 * tf.reduce_sum(distance**2))
            else:
                terms.append(self.strength * tf.stop_gradient(tf.reduce_sum(tf.abs(distance))))
        return tf.add_n(terms)

    def proximal(
        self, path: str, weight: "tf.Tensor", origin: "tf.Tensor", rate: "tf.Tensor"
    ) -> "tf.Tensor":
        """Return origin + soft threshold of (weight - origin) for the body's weights in scope."""
        import tensorflow as tf

        if block_of(path) == HEAD or not in_scope(path, self.scope):
            return weight
        threshold = rate * self.strength
        distance = weight - origin
        # origin + (weight - origin) is not always weight to the bit: a threshold of 0 must be.
        shrunk = weight - threshold * tf.sign(distance)
        return tf.where(tf.abs(distance) < threshold, origin, shrunk)
