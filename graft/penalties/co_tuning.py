"""Co-Tuning: the source's head keeps learning, from the source classes that a label implies.

You, Kou, Long, Wang (2020), "Co-Tuning for Transfer Learning".
"""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from graft.core.network import Network
from graft.fitting.temperature import fit_temperature
from graft.penalties.base import Arrays, Batch, Evidence, Penalty

if TYPE_CHECKING:
    import tensorflow as tf


class CoTuning(Penalty):
    """strength * mean over the batch of the cross-entropy H(p(y_s | label), q).

    q is the softmax of the source's head on the target network's features; the head stays as
    it is, where the paper lets it train too. p(y_s | y_t) is the paper's direct estimate: the
    mean of the source's calibrated probabilities over the labelled examples of class y_t; its
    temperature is fitted on the source's validation examples. A strength of 2.3 is the
    paper's. It depends neither on the size of the batch nor on the number of weights, and is
    not zero at theta_0.
    """

    measures: ClassVar[Literal["nothing", "source", "cell"]] = "cell"
    name: Literal["co_tuning"] = "co_tuning"

    def measure(self, evidence: Evidence) -> Arrays:
        """Return the source's head and the ``relation``, (target classes, source classes)."""
        task, head = evidence.source, evidence.source.head

        def logits(network: Network, inputs: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
            return np.asarray(network.features(inputs) @ head["kernel"] + head["bias"], np.float64)

        validation = logits(task.network, task.validation_inputs)
        temperature = fit_temperature(validation, np.asarray(task.validation_labels))
        probabilities = _softmax(logits(evidence.theta_0, evidence.inputs) / temperature)
        classes = range(evidence.theta_0.num_classes)
        means = [probabilities[evidence.labels == label].mean(axis=0) for label in classes]
        return {**head, "relation": np.asarray(means, np.float32)}

    def __call__(self, target: Network, source: Network, batch: Batch) -> "tf.Tensor":
        """Return the mean cross-entropy."""
        import tensorflow as tf

        implied = batch.targets @ batch.measured["relation"]
        logits = batch.features @ batch.measured["kernel"] + batch.measured["bias"]
        losses = tf.nn.softmax_cross_entropy_with_logits(implied, logits)
        return self.strength * tf.reduce_mean(losses)


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
