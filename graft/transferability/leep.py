"""LEEP: how well the source's own classes predict the target's.

Nguyen, Hassner, Seeger, Archambeau (2020), "LEEP: A New Measure to Evaluate Transferability of
Learned Representations".
"""

import numpy as np

from graft.transferability.base import Labels, indicators
from graft.transferability.representation import Representation


def leep(representation: Representation, labels: Labels) -> float:
    """Return the mean over examples of log sum_z P(y|z) theta(x)_z, at most 0.

    theta(x) are the source head's probabilities, P(y|z) = sum_{x of y} theta(x)_z /
    sum_x theta(x)_z. A source class z that no example gives any mass has no part in it.
    """
    theta = representation.source_probabilities
    assert theta is not None
    of_class = indicators(labels)
    joint = of_class.T @ theta
    mass = joint.sum(axis=0)
    conditional = np.divide(joint, mass, out=np.zeros_like(joint), where=mass > 0)
    likelihood = np.sum(of_class * (theta @ conditional.T), axis=1)
    return float(np.log(likelihood).mean())
