"""Linear probing: the body stays as it is, the head is solved on its features."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from graft.core.network import HEAD
from graft.strategies.base import Phase, Strategy


class Probe(Strategy):
    """Frozen body; the head is a logistic regression, solved to convergence.

    Without a penalty nothing is left to train. With one, the solved head is where gradient
    descent on the penalised objective starts, over the head alone.
    """

    name: Literal["probe"] = "probe"
    c: float = Field(default=1.0, gt=0)

    def phases(self, blocks: Sequence[str]) -> tuple[Phase, ...]:
        """Return one phase in which the head alone trains."""
        return (Phase({HEAD: 1.0}),)

    @property
    def solved_head(self) -> float | None:
        """C, the inverse strength of the regression's own L2 term."""
        return self.c
