"""Batch spectral shrinkage: the least directions of the features are suppressed.

Chen et al. (2019), "Catastrophic Forgetting Meets Negative Transfer: Batch Spectral Shrinkage
for Safe Transfer Learning".
"""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from graft.core.network import Network
from graft.penalties.base import Batch, Penalty

if TYPE_CHECKING:
    import tensorflow as tf


class BSS(Penalty):
    """strength * the sum of the k smallest squared singular values of the batch's features.

    The paper takes a strength of 0.001 and k = 1. The matrix is (batch, d), so the value
    depends on both by its very definition, and not on the number of weights. A batch must hold
    more than k examples. In one that shows an example twice, because there are fewer labels
    than places, the smallest singular values are zero, and so is this.
    """

    needs_source: ClassVar[bool] = False
    name: Literal["bss"] = "bss"
    k: int = Field(default=1, ge=1)

    @property
    def smallest_batch(self) -> int:
        """One more than k: of a single example, the one singular value is the largest too."""
        return self.k + 1

    def __call__(self, target: Network, source: Network, batch: Batch) -> "tf.Tensor":
        """Return the sum over the k smallest singular values, largest first in TensorFlow."""
        import tensorflow as tf

        singular_values = tf.linalg.svd(batch.features, compute_uv=False)
        return self.strength * tf.reduce_sum(singular_values[-self.k :] ** 2)
