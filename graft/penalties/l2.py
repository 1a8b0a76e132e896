"""L2, weight decay: a pull of every weight towards zero."""

from typing import TYPE_CHECKING, ClassVar, Literal

from graft.core.network import Network
from graft.penalties.base import Batch, Penalty, Scope, scoped

if TYPE_CHECKING:
    import tensorflow as tf


class L2(Penalty):
    """strength / 2 * sum w^2. It grows with the number of weights, not with the batch."""

    needs_source: ClassVar[bool] = False
    name: Literal["l2"] = "l2"
    scope: Scope = "kernels"

    def __call__(self, target: Network, source: Network, batch: Batch) -> "tf.Tensor":
        """Return the sum over the weights in scope, head included."""
        import tensorflow as tf

        squares = [tf.reduce_sum(weight.value**2) for _, weight in scoped(target, self.scope)]
        return self.strength / 2 * tf.add_n(squares)
