"""Strategies by name; adding one is a file in this folder and a line in `STRATEGIES`."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from graft.strategies.base import Strategy
from graft.strategies.full import Full
from graft.strategies.gradual import Gradual
from graft.strategies.layerwise import Layerwise
from graft.strategies.lp_ft import LPFT
from graft.strategies.none import NoTraining
from graft.strategies.partial import Partial
from graft.strategies.probe import Probe
from graft.strategies.scratch import Scratch
from graft.strategies.surgical import Surgical

STRATEGIES: dict[str, type[Strategy]] = {
    "full": Full,
    "gradual": Gradual,
    "layerwise": Layerwise,
    "lp_ft": LPFT,
    "none": NoTraining,
    "partial": Partial,
    "probe": Probe,
    "scratch": Scratch,
    "surgical": Surgical,
}

if TYPE_CHECKING:
    AnyStrategy = Strategy
else:
    AnyStrategy = Annotated[Union[tuple(STRATEGIES.values())], Field(discriminator="name")]  # noqa: UP007
