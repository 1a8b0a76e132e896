"""Which sources and which methods of params.yaml are in use."""

from pydantic import Field

from graft.core.sections import Part
from graft.core.settings import Identifier, Settings


class SourceSection(Settings):
    """Which of `sources` are in use, and how much of each is held out from training."""

    candidates: tuple[Identifier, ...] = Field(min_length=1)
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)


class MethodsInUse(Part):
    """The methods in use."""

    methods: tuple[Identifier, ...] = Field(min_length=1)
