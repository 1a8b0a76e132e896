"""The control: no transfer at all."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from graft.strategies.base import Phase, Strategy


class Scratch(Strategy):
    """Every weight trains, from a random start."""

    start: ClassVar[Literal["source", "random"]] = "random"
    name: Literal["scratch"] = "scratch"

    def phases(self, blocks: Sequence[str]) -> tuple[Phase, ...]:
        """Return one phase in which every block trains."""
        return (Phase(dict.fromkeys(blocks, 1.0)),)
