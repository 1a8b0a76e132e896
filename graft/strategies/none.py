"""No fine-tuning: what the source's model already knows of the target."""

from collections.abc import Sequence
from typing import Literal

from graft.strategies.base import Phase, Strategy


class NoTraining(Strategy):
    """Nothing trains: the target's network as transfer left it.

    It needs a head that was transferred; a new one has nothing to say.
    """

    name: Literal["none"] = "none"

    def phases(self, blocks: Sequence[str]) -> tuple[Phase, ...]:
        """Return no phase at all."""
        return ()
