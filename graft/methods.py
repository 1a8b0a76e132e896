"""A method, as params.yaml names it: a strategy and, if wanted, a penalty."""

from typing import TYPE_CHECKING, Annotated, Literal, Union

from pydantic import Field

from graft.penalties import PENALTIES, Penalty
from graft.settings import Settings
from graft.strategies import STRATEGIES, Strategy

if TYPE_CHECKING:
    AnyPenalty = Penalty
    AnyStrategy = Strategy
else:
    AnyPenalty = Annotated[Union[tuple(PENALTIES.values())], Field(discriminator="name")]
    AnyStrategy = Annotated[Union[tuple(STRATEGIES.values())], Field(discriminator="name")]

BatchNormPolicy = Literal["frozen", "adapt", "recompute"]


class Method(Settings):
    """A way of transferring, and what of the shared recipe it does its own way.

    Attributes
    ----------
    batch_norm
        ``frozen``: BatchNorm keeps the source's statistics, scale and shift. ``adapt``: it
        trains with the blocks it stands in. ``recompute``: its statistics are taken anew from
        the labelled target examples (Li et al. 2017, AdaBN), then stay, with scale and shift.
    learning_rate
        Instead of the recipe's.
    """

    strategy: AnyStrategy
    penalty: AnyPenalty | None = None
    batch_norm: BatchNormPolicy = "frozen"
    learning_rate: float | None = Field(default=None, gt=0)
