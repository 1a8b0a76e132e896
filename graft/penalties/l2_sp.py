"""L2-SP: a pull towards the source's weights instead of towards zero.

Li, Grandvalet, Davoine (2018), "Explicit Inductive Bias for Transfer Learning with
Convolutional Networks". The authors penalise kernels only and leave biases and BatchNorm's
scale and shift free; ``scope: all`` covers those too.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from graft.core.network import HEAD, Network, block_of
from graft.penalties.base import Batch, Penalty, Scope, scoped

if TYPE_CHECKING:
    import tensorflow as tf


class L2SP(Penalty):
    """strength / 2 * sum_body (w - w0)^2 + head_strength / 2 * sum_head (w - w0)^2.

    A new head starts at zero, so its term is the paper's beta / 2 * sum_head w^2; a head that
    was transferred is held to the source's like the body. `head_strength` is `strength` unless
    it is given. It grows with the number of weights, not with the batch.
    """

    name: Literal["l2_sp"] = "l2_sp"
    head_strength: float | None = Field(default=None, ge=0)
    scope: Scope = "kernels"

    def __call__(self, target: Network, source: Network, batch: Batch) -> "tf.Tensor":
        """Return the sum over the weights in scope."""
        import tensorflow as tf

        head = self.strength if self.head_strength is None else self.head_strength
        terms = []
        for path, weight in scoped(target, self.scope):
            strength = head if block_of(path) == HEAD else self.strength
            distance = weight.value - source.parameters[path].value
            terms.append(strength / 2 * tf.reduce_sum(distance**2))
        return tf.add_n(terms)
