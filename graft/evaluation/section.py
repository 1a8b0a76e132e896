"""What params.yaml says of how the answer is worked out."""

from typing import Literal

from pydantic import Field

from graft.core.labels import Budget
from graft.core.settings import Settings


class EvaluateSection(Settings):
    """How the answer is worked out.

    Attributes
    ----------
    method
        Whose gain is the headline: a method's name, or the best by cross-validation.
    headline_budget
        The budget that the headline speaks of.
    margin
        Accuracy differences within it count as none.
    fail_on_hurt
        Whether the verdict `hurt` makes the stage fail, once everything is written: for use
        where a worse model must stop what follows.
    """

    method: str = "auto"
    headline_budget: Literal["smallest"] | Budget = "smallest"
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    margin: float = Field(default=0.01, ge=0, lt=1)
    resamples: int = Field(default=2000, ge=100, le=1_000_000)
    fail_on_hurt: bool = False
