"""Surgical fine-tuning: one block of the body trains, wherever it stands.

Lee et al. (2023), "Surgical Fine-Tuning Improves Adaptation to Distribution Shifts".
"""

from collections.abc import Sequence
from typing import Literal

from graft.core.errors import GraftError
from graft.core.network import HEAD
from graft.core.settings import expected
from graft.strategies.base import Phase, Strategy


class Surgical(Strategy):
    """`block` and the head train; every other block stays frozen.

    The paper's tasks keep the source's classes, so that its head can stay frozen too. Here the
    head is usually new, and a block below a head of zeros has no gradient: it always trains.
    """

    name: Literal["surgical"] = "surgical"
    block: str

    def phases(self, blocks: Sequence[str]) -> tuple[Phase, ...]:
        """Return one phase in which the block and the head train."""
        body = blocks[:-1]
        if self.block not in body:
            raise GraftError(
                f"strategy 'surgical': the network has no block {self.block!r}; "
                f"{expected(self.block, body)}"
            )
        return (Phase({self.block: 1.0, HEAD: 1.0}),)
