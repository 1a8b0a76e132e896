"""Strategies by name; adding one is a file in this folder and a line in `STRATEGIES`."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from graft.strategies.base import Strategy
from graft.strategies.full import Full
from graft.strategies.probe import Probe
from graft.strategies.scratch import Scratch

STRATEGIES: dict[str, type[Strategy]] = {
    "full": Full,
    "probe": Probe,
    "scratch": Scratch,
}

if TYPE_CHECKING:
    AnyStrategy = Strategy
else:
    AnyStrategy = Annotated[Union[tuple(STRATEGIES.values())], Field(discriminator="name")]  # noqa: UP007
