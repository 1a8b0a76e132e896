"""Strategies by name; adding one is a file in this folder and a line in `STRATEGIES`."""

from graft.strategies.base import Phase, Strategy
from graft.strategies.full import Full
from graft.strategies.probe import Probe
from graft.strategies.scratch import Scratch

STRATEGIES: dict[str, type[Strategy]] = {
    "full": Full,
    "probe": Probe,
    "scratch": Scratch,
}

__all__ = ["STRATEGIES", "Phase", "Strategy"]
