"""LP-FT: the probe's head first, then every weight, slowly.

Kumar et al. (2022), "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution".
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from graft.strategies.base import Phase, Strategy


class LPFT(Strategy):
    """The head is solved as in `probe`; then every weight trains, at `rate` times the rate."""

    name: Literal["lp_ft"] = "lp_ft"
    c: float = Field(default=1.0, gt=0)
    rate: float = Field(default=0.1, gt=0, le=1)

    def phases(self, blocks: Sequence[str]) -> tuple[Phase, ...]:
        """Return one phase in which every block trains at the lower rate."""
        return (Phase(dict.fromkeys(blocks, self.rate)),)

    @property
    def solved_head(self) -> float | None:
        """C, the inverse strength of the regression's own L2 term."""
        return self.c
