"""Penalties by name; adding one is a file in this folder and a line in `PENALTIES`."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from graft.penalties.base import Penalty
from graft.penalties.l1 import L1
from graft.penalties.l2 import L2
from graft.penalties.l2_sp import L2SP

PENALTIES: dict[str, type[Penalty]] = {
    "l1": L1,
    "l2": L2,
    "l2_sp": L2SP,
}

if TYPE_CHECKING:
    AnyPenalty = Penalty
else:
    AnyPenalty = Annotated[Union[tuple(PENALTIES.values())], Field(discriminator="name")]  # noqa: UP007
