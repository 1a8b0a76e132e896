"""Penalties by name; adding one is a file in this folder and a line in `PENALTIES`."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from graft.penalties.base import Penalty
from graft.penalties.bss import BSS
from graft.penalties.co_tuning import CoTuning
from graft.penalties.delta import Delta
from graft.penalties.l1 import L1
from graft.penalties.l1_sp import L1SP
from graft.penalties.l2 import L2
from graft.penalties.l2_sp import L2SP
from graft.penalties.l2_sp_fisher import L2SPFisher
from graft.penalties.lwf import LwF

PENALTIES: dict[str, type[Penalty]] = {
    "bss": BSS,
    "co_tuning": CoTuning,
    "delta": Delta,
    "l1": L1,
    "l1_sp": L1SP,
    "l2": L2,
    "l2_sp": L2SP,
    "l2_sp_fisher": L2SPFisher,
    "lwf": LwF,
}

if TYPE_CHECKING:
    AnyPenalty = Penalty
else:
    AnyPenalty = Annotated[Union[tuple(PENALTIES.values())], Field(discriminator="name")]  # noqa: UP007
