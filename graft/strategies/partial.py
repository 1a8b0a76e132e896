"""Partial fine-tuning: the last blocks and the head train, the first ones stay frozen.

Yosinski et al. (2014), "How transferable are features in deep neural networks?".
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from graft.core.errors import GraftError
from graft.strategies.base import Phase, Strategy


class Partial(Strategy):
    """The last `blocks` blocks of the body train, and the head."""

    name: Literal["partial"] = "partial"
    blocks: int = Field(default=1, ge=1)

    def phases(self, blocks: Sequence[str]) -> tuple[Phase, ...]:
        """Return one phase in which the last blocks train."""
        body = blocks[:-1]
        if self.blocks > len(body):
            raise GraftError(
                f"strategy 'partial': received blocks: {self.blocks}; the network has "
                f"{len(body)} beside its head: {', '.join(body)}; lower it"
            )
        return (Phase(dict.fromkeys(blocks[-self.blocks - 1 :], 1.0)),)
