"""What a way of transferring is: where the target starts, what trains when, and how fast."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from graft.core.settings import Settings


@dataclass(frozen=True)
class Phase:
    """A stretch of training in which the same blocks train.

    Attributes
    ----------
    rates
        Block name to a multiple of the learning rate; a block that is not named stays frozen.
    share
        This phase's part of all steps; the shares of a strategy's phases add up to 1.
    """

    rates: Mapping[str, float]
    share: float = 1.0


class Strategy(Settings, ABC):
    """A way of transferring; its fields are its hyper-parameters.

    `start` says whether a cell begins at the source's weights or at random ones.
    """

    start: ClassVar[Literal["source", "random"]] = "source"
    name: str

    @abstractmethod
    def phases(self, blocks: Sequence[str]) -> tuple[Phase, ...]:
        """Return the phases of training for a network of `blocks`, input first, head last.

        Raises
        ------
        GraftError
            Where the strategy speaks of blocks that are not there.
        """

    @property
    def solved_head(self) -> float | None:
        """C of the logistic regression that the head is first solved with; None: not solved."""
        return None
