"""Layer-wise learning rates: the nearer to the input a block is, the slower it learns.

Howard and Ruder (2018), "Universal Language Model Fine-tuning for Text Classification", under
the name of discriminative fine-tuning.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from graft.strategies.base import Phase, Strategy


class Layerwise(Strategy):
    """Every weight trains; each block at `decay` times the rate of the one above it.

    The head's rate is the learning rate itself. The paper divides by 2.6 from block to block.
    """

    name: Literal["layerwise"] = "layerwise"
    decay: float = Field(default=0.4, gt=0, le=1)

    def phases(self, blocks: Sequence[str]) -> tuple[Phase, ...]:
        """Return one phase with a rate per block."""
        rates = {block: self.decay**depth for depth, block in enumerate(reversed(blocks))}
        return (Phase({block: rates[block] for block in blocks}),)
