"""Averaging of weights between theta_0 and what fine-tuning made of it: WiSE-FT.

Wortsman et al. (2022), "Robust fine-tuning of zero-shot models".
"""

import numpy as np

from graft.core.network import Weights


def averaged(theta_0: Weights, theta_ft: Weights, share: float) -> Weights:
    """Return (1 - share) * theta_0 + share * theta_ft, tensor by tensor of `theta_ft`.

    BatchNorm's moving statistics are averaged like weights: shares of 0 and 1 then give back
    the two ends exactly, and nothing leans on statistics of a few labelled images.
    """
    result: Weights = {}
    for path, end in theta_ft.items():
        start = np.asarray(theta_0[path], np.float64)
        result[path] = np.asarray((1 - share) * start + share * end, end.dtype)
    return result
