"""L1: a pull of every weight towards zero, alike for small and large ones."""

from typing import TYPE_CHECKING, ClassVar, Literal

from graft.core.network import Network
from graft.penalties.base import Batch, Penalty, Scope, scoped

if TYPE_CHECKING:
    import tensorflow as tf


class L1(Penalty):
    """strength * sum |w|. It grows with the number of weights, not with the batch."""

    needs_source: ClassVar[bool] = False
    name: Literal["l1"] = "l1"
    scope: Scope = "kernels"

    def __call__(self, target: Network, source: Network, batch: Batch) -> "tf.Tensor":
        """Return the sum over the weights in scope, head included."""
        import tensorflow as tf

        sizes = [tf.reduce_sum(tf.abs(weight.value)) for _, weight in scoped(target, self.scope)]
        return self.strength * tf.add_n(sizes)
