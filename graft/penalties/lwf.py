"""Learning without forgetting: the source's head should answer as it did.

Li and Hoiem (2016), "Learning without Forgetting".
"""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from graft.core.network import Network
from graft.penalties.base import Arrays, Batch, Evidence, Penalty

if TYPE_CHECKING:
    import tensorflow as tf


class LwF(Penalty):
    """strength * T^2 * mean over the batch of KL(p0 || p), both softened by a temperature T.

    p0 is what the source's head says of theta_0's features (in inference mode), p what it says
    of the target network's; the head itself stays as it is, where the paper lets it train too.
    A strength of 4 at temperature 3 is usual. It depends neither on the size of the batch nor
    on the number of weights. Where BatchNorm adapts, it is not zero at theta_0.
    """

    measures: ClassVar[Literal["nothing", "source", "cell"]] = "source"
    name: Literal["lwf"] = "lwf"
    temperature: float = Field(default=3.0, gt=0)

    def measure(self, evidence: Evidence) -> Arrays:
        """Return the source's head."""
        return evidence.source.head

    def __call__(self, target: Network, source: Network, batch: Batch) -> "tf.Tensor":
        """Return the mean divergence."""
        import tensorflow as tf

        before, _ = source.outputs(batch.inputs, training=False)
        logs = [
            tf.nn.log_softmax(
                (features @ batch.measured["kernel"] + batch.measured["bias"]) / self.temperature
            )
            for features in (tf.stop_gradient(before), batch.features)
        ]
        divergence = tf.reduce_sum(tf.exp(logs[0]) * (logs[0] - logs[1]), axis=1)
        return self.strength * self.temperature**2 * tf.reduce_mean(divergence)
