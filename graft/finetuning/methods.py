"""A method, as params.yaml names it: a strategy and, if wanted, a penalty."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from graft.core.network import HEAD
from graft.core.settings import expected, fault
from graft.finetuning.grids import Tunable
from graft.penalties.registry import PENALTIES, AnyPenalty
from graft.strategies.base import Phase
from graft.strategies.registry import AnyStrategy
from graft.strategies.scratch import Scratch
from graft.training.loop import Recipe

BatchNormPolicy = Literal["frozen", "adapt", "stochastic", "recompute"]


class Method(Tunable):
    """A way of transferring, and what of the shared recipe it does its own way.

    Attributes
    ----------
    batch_norm
        ``frozen``: BatchNorm keeps the source's statistics, scale and shift. ``adapt``: it
        trains with the blocks it stands in. ``stochastic``: it does, each channel normalised
        by moving or batch statistics at random (Kou et al. 2020, StochNorm). ``recompute``:
        its statistics are taken anew from the labelled target examples (Li et al. 2017,
        AdaBN), then stay, with scale and shift.
    learning_rate
        Instead of the recipe's.
    wise_ft
        Share of the fine-tuned weights in an average with theta_0, which carries the probe's
        head (Wortsman et al. 2022, WiSE-FT): 1 is plain fine-tuning, 0 the probe. It suits
        `lp_ft` best, whose training starts at that very theta_0.
    """

    strategy: AnyStrategy
    penalty: AnyPenalty | None = None
    batch_norm: BatchNormPolicy = "frozen"
    learning_rate: float | None = Field(default=None, gt=0)
    wise_ft: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _check_training(self) -> "Method":
        for name, given in (("penalty", self.penalty), ("wise_ft", self.wise_ft)):
            if given is not None and self.strategy.name == "none":
                message = f"{name}: strategy 'none' trains nothing that it could act on"
                raise fault(f"{message}; leave it out, or take another strategy", name)
        return self

    def phases(self, blocks: Sequence[str]) -> tuple[Phase, ...]:
        """Return the strategy's phases of training for a network of `blocks`.

        There are none where a solved head alone would train, without a penalty: it is at its
        optimum already.

        Raises
        ------
        GraftError
            Where the strategy speaks of blocks that are not there.
        """
        phases = self.strategy.phases(blocks)
        solved = self.strategy.solved_head is not None and self.penalty is None
        return () if solved and all(phase.rates.keys() <= {HEAD} for phase in phases) else phases


class ScratchSection(Tunable):
    """The control. The rest of its training is `finetune.training`, as for every method.

    Attributes
    ----------
    steps
        Instead of `finetune.training.steps`: with those of the source and of fine-tuning
        together, the control is longer training on the same data.
    """

    fixed: ClassVar[frozenset[str]] = frozenset({"steps"})

    steps: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    penalty: AnyPenalty | None = None

    @property
    def method(self) -> Method:
        """Return the control as a method: random weights, everything trains."""
        return Method(
            strategy=Scratch(),
            penalty=self.penalty,
            batch_norm="adapt",
            learning_rate=self.learning_rate,
            grid=self.grid,
        )

    def recipe(self, shared: Recipe) -> Recipe:
        """Return `finetune.training` with the control's own number of steps."""
        return shared.model_copy(update={"steps": self.steps}) if self.steps else shared

    @model_validator(mode="after")
    def _check_penalty(self) -> "ScratchSection":
        if self.penalty is not None and self.penalty.needs_source:
            names = [name for name, kind in PENALTIES.items() if not kind.needs_source]
            raise fault(
                f"penalty {self.penalty.name!r} compares with a source, which the control does "
                f"not have; {expected(self.penalty.name, names)}",
                "penalty",
            )
        return self
