"""NCE: what the source's predicted class leaves unknown of the target's class.

Tran, Nguyen, Hassner (2019), "Transferability and Hardness of Supervised Classification Tasks".
"""

import numpy as np

from graft.transferability.base import Labels, indicators
from graft.transferability.representation import Representation


def nce(representation: Representation, labels: Labels) -> float:
    """Return -H(Y|Z) in nats, from minus the logarithm of the number of classes to 0.

    Z is the source head's most probable class, the first of those that tie.
    """
    theta = representation.source_probabilities
    assert theta is not None
    joint = indicators(labels).T @ indicators(theta.argmax(axis=1)) / len(labels)
    of_source = np.broadcast_to(joint.sum(axis=0), joint.shape)
    occurs = joint > 0
    return float(np.sum(joint[occurs] * np.log(joint[occurs] / of_source[occurs])))
