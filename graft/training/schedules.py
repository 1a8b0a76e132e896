"""The learning rate of every step, as a multiple of the base rate, worked out beforehand."""

from typing import Literal

import numpy as np
import numpy.typing as npt

ScheduleName = Literal["constant", "cosine", "staircase"]


def rates(schedule: ScheduleName, steps: int, warmup_steps: int = 0) -> npt.NDArray[np.float32]:
    """Return one multiple of the base rate per step, float32, (steps,).

    The warm-up rises linearly, reaching 1 with its last step. After it, ``cosine`` falls to 0
    along half a period over what remains (Loshchilov & Hutter 2017), and ``staircase`` is
    divided by ten at 40, 60 and 80 % of all steps (the rule of Kolesnikov et al. 2020).
    """
    step = np.arange(steps)
    if schedule == "cosine":
        progress = np.clip((step - warmup_steps) / max(steps - warmup_steps, 1), 0, 1)
        rate = (1 + np.cos(np.pi * progress)) / 2
    elif schedule == "staircase":
        passed = sum((step >= share * steps).astype(int) for share in (0.4, 0.6, 0.8))
        rate = np.power(0.1, passed)
    else:
        rate = np.ones(steps)
    warm = np.minimum((step + 1) / warmup_steps, 1) if warmup_steps else np.ones(steps)
    return np.asarray(rate * warm, np.float32)
