"""Gradual unfreezing: from the head downwards, one more block in every phase.

Howard and Ruder (2018), "Universal Language Model Fine-tuning for Text Classification".
"""

from collections.abc import Sequence
from typing import Literal

from graft.strategies.base import Phase, Strategy


class Gradual(Strategy):
    """First the head alone, then the last block too, and so on; phases of equal length.

    The optimizer's momenta go on from phase to phase; those of a block begin when it thaws.
    """

    name: Literal["gradual"] = "gradual"

    def phases(self, blocks: Sequence[str]) -> tuple[Phase, ...]:
        """Return as many phases as there are blocks; the last one trains them all."""
        share = 1 / len(blocks)
        starts = reversed(range(len(blocks)))
        return tuple(Phase(dict.fromkeys(blocks[start:], 1.0), share) for start in starts)
