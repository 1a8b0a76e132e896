"""Plain fine-tuning of the whole network."""

from collections.abc import Sequence
from typing import Literal

from graft.strategies.base import Phase, Strategy


class Full(Strategy):
    """Every weight trains, from the source's weights."""

    name: Literal["full"] = "full"

    def phases(self, blocks: Sequence[str]) -> tuple[Phase, ...]:
        """Return one phase in which every block trains."""
        return (Phase(dict.fromkeys(blocks, 1.0)),)
