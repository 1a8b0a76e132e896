"""L2-SP-Fisher: a pull towards the source's weights, strong where the source depends on them.

Li, Grandvalet, Davoine (2018), "Explicit Inductive Bias for Transfer Learning with
Convolutional Networks", after elastic weight consolidation (Kirkpatrick et al. 2017).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from graft.core.network import HEAD, Network, block_of
from graft.penalties.base import Arrays, Batch, Evidence, Penalty, Scope, evenly_spaced, scoped

if TYPE_CHECKING:
    import tensorflow as tf


class L2SPFisher(Penalty):
    """strength / 2 * sum_body F (w - w0)^2 + head_strength / 2 * sum_head (w - w0)^2.

    F is the mean, over `examples` of the source's training examples, of the squared gradient
    of log p(label | example), the gradient taken example by example, in inference mode. (The
    paper weighs every class by its predicted probability instead of taking the label.) It is
    small, the smaller the better the source fits, so that strengths are large;
    ``normalised: true`` divides F by its mean over the body's weights in scope, so that a
    strength means what it means to `l2_sp`.

    `head_strength` is `strength` unless it is given. It grows with the number of weights, not
    with the batch.
    """

    measures: ClassVar[Literal["nothing", "source", "cell"]] = "source"
    name: Literal["l2_sp_fisher"] = "l2_sp_fisher"
    head_strength: float | None = Field(default=None, ge=0)
    scope: Scope = "kernels"
    examples: int = Field(default=1000, ge=1)
    normalised: bool = False

    def measure(self, evidence: Evidence) -> Arrays:
        """Return F of every body weight in scope, by its path."""
        task = evidence.source
        rows = evenly_spaced(len(task.labels), self.examples)
        paths = [path for path, _ in scoped(task.network, self.scope) if block_of(path) != HEAD]
        fisher = mean_squared_gradients(task.network, paths, task.inputs[rows], task.labels[rows])
        if not self.normalised:
            return fisher
        mean = float(np.mean(np.concatenate([values.ravel() for values in fisher.values()])))
        return {path: values / np.float32(mean or 1) for path, values in fisher.items()}

    def __call__(self, target: Network, source: Network, batch: Batch) -> "tf.Tensor":
        """Return the sum over the weights in scope."""
        import tensorflow as tf

        head = self.strength if self.head_strength is None else self.head_strength
        terms = []
        for path, weight in scoped(target, self.scope):
            squares = (weight.value - source.parameters[path].value) ** 2
            if block_of(path) == HEAD:
                terms.append(head / 2 * tf.reduce_sum(squares))
            else:
                fisher = batch.measured[path]
                terms.append(self.strength / 2 * tf.reduce_sum(fisher * squares))
        return tf.add_n(terms)


def mean_squared_gradients(
    network: Network, paths: Sequence[str], inputs: npt.NDArray[Any], labels: npt.NDArray[Any]
) -> Arrays:
    """Return the mean over examples of (d log p(label | input) / d weight)^2 by path."""
    import tensorflow as tf

    weights = [network.parameters[path].value for path in paths]

    @tf.function  # type: ignore[untyped-decorator]
    def summed(inputs: "tf.Tensor", labels: "tf.Tensor") -> "list[tf.Tensor]":
        sums = [tf.zeros(weight.shape) for weight in weights]
        for row in tf.range(len(labels)):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(weights)
                _, logits = network.outputs(inputs[row : row + 1], training=False)
                loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels[row : row + 1], logits)
            gradients = tape.gradient(loss, weights)
            sums = [total + gradient**2 for total, gradient in zip(sums, gradients, strict=True)]
        return sums

    sums = summed(tf.constant(np.ascontiguousarray(inputs)), tf.constant(np.asarray(labels)))
    return {path: total.numpy() / len(labels) for path, total in zip(paths, sums, strict=True)}
