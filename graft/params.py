"""params.yaml as one typed, frozen, strict object: every knob, one section per stage."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from graft.compute.section import ComputeSection
from graft.core.errors import GraftError
from graft.core.in_use import SourceSection
from graft.core.network import HEAD
from graft.core.sections import read_whole
from graft.core.settings import Identifier, Settings, expected, fault
from graft.core.tracking.stage_run import TrackingSection
from graft.datasets.tasks import TargetTask, Task
from graft.evaluation.section import EvaluateSection
from graft.evaluation.tuning_effort import unequal
from graft.finetuning.finetuner import FinetuneSection
from graft.finetuning.methods import Method, ScratchSection
from graft.networks.registry import AnyNetwork
from graft.training.loop import Recipe
from graft.transferring import TransferSection


class Params(Settings):
    """The whole of params.yaml.

    Every section is required, if only as ``{}``: DVC fails at a stage whose declared parameters
    are not in the file.
    """

    seed: int = Field(ge=0, lt=2**32)
    sources: dict[Identifier, Task]
    source: SourceSection
    target: TargetTask
    network: AnyNetwork
    train_source: Recipe
    scratch: ScratchSection
    transfer: TransferSection
    methods: dict[Identifier, Method]
    finetune: FinetuneSection
    evaluate: EvaluateSection
    # Of no stage, and no result depends on it: dvc.yaml does not declare it.
    tracking: TrackingSection = TrackingSection()
    compute: ComputeSection

    @model_validator(mode="after")
    def _check_names(self) -> "Params":
        if "scratch" in self.sources:
            raise fault(
                "sources.scratch: this name is the control's, whose files would mix with the "
                "source's; rename the source",
                *("sources", "scratch"),
            )
        _check_chosen(("source", "candidates"), self.source.candidates, "sources", self.sources)
        _check_chosen(("finetune", "methods"), self.finetune.methods, "methods", self.methods)
        for name, entry in self.methods.items():
            if entry.strategy.start == "random":
                raise fault(
                    f"methods.{name}.strategy: {entry.strategy.name!r} transfers nothing; it is "
                    "the control, which always runs: its settings are the section `scratch`",
                    *("methods", name, "strategy"),
                )
            self._check_method(entry, "methods", name)
            self._check_grid(entry, "methods", name)
        self._check_method(self.scratch.method, "scratch")
        self._check_grid(self.scratch.method, "scratch")
        steps, warmup = self.scratch.steps, self.finetune.training.warmup_steps
        if steps is not None and warmup > steps:
            raise fault(
                f"scratch.steps: received {steps}; expected no fewer than "
                f"finetune.training.warmup_steps, {warmup}",
                *("scratch", "steps"),
            )
        method = self.evaluate.method
        if method != "auto" and method not in self.finetune.methods:
            choices = ["auto", *self.finetune.methods]
            message = f"evaluate.method: unknown {method!r}; {expected(method, choices)}"
            raise fault(message, "evaluate", "method")
        return self

    def _check_method(self, method: Method, *at: str) -> None:
        """Check what a method asks of the network and of the shared recipe."""
        where = ".".join(at)
        try:
            method.phases((*self.network.body_blocks, HEAD))
        except GraftError as error:
            raise fault(f"{where}.strategy: {error}", *at, "strategy") from None
        try:
            if method.penalty:
                method.penalty.check_batch(self.finetune.training.batch_size)
        except GraftError as error:
            raise fault(f"{where}.penalty: {error}", *at, "penalty") from None

    def _check_grid(self, method: Method, *at: str) -> None:
        """Check what each combination of a grid asks of the network and of the recipe."""
        blocks = (*self.network.body_blocks, HEAD)
        for values in method.combinations:
            tried = method.with_values(values)
            try:
                self._check_method(tried, *at)
            except PydanticCustomError as error:
                message = str(error.context and error.context["message"])
                raise fault(f"{message} (in its grid)", *at, "grid") from None
            if "learning_rate" in values and not tried.phases(blocks):
                raise fault(
                    f"{'.'.join(at)}.grid: learning_rate: {tried.strategy.name!r} without a "
                    "penalty solves its head and takes no steps; leave it out",
                    *(*at, "grid", "learning_rate"),
                )

    @model_validator(mode="after")
    def _check_tuning_effort(self) -> "Params":
        arms = {"scratch": len(self.scratch.combinations)}
        arms |= {f"methods.{m}": len(self.methods[m].combinations) for m in self.finetune.methods}
        if not any(arms.values()):
            return self
        if message := unequal(arms):
            most = max(arms.values())
            less_tuned = next(arm for arm, size in arms.items() if size < most)
            raise fault(message, *less_tuned.split("."))
        if not self.finetune.folds:
            raise fault(
                "finetune.folds: received 0; grids are searched by cross-validation, so set it "
                "to 2 or more, or take the grids away",
                *("finetune", "folds"),
            )
        return self

    @model_validator(mode="after")
    def _check_evaluation(self) -> "Params":
        budget, budgets = self.evaluate.headline_budget, self.target.labels_per_class
        if budget != "smallest" and budget not in budgets:
            raise fault(
                f"evaluate.headline_budget: received {budget}; expected smallest or one of "
                f"target.labels_per_class: {', '.join(map(str, budgets))}",
                *("evaluate", "headline_budget"),
            )
        auto = self.evaluate.method == "auto"
        methods = len(self.finetune.methods) if auto else 1
        if self.finetune.folds or methods * len(self.source.candidates) == 1:
            return self
        if auto:
            raise fault(
                "evaluate.method: auto chooses by cross-validation, and finetune.folds is 0; "
                "set finetune.folds to 2 or more, or name a method",
                *("evaluate", "method"),
            )
        raise fault(
            "finetune.folds: received 0 with several source.candidates; the best source is "
            "chosen by cross-validation, so set it to 2 or more",
            *("finetune", "folds"),
        )


def load(path: Path) -> Params:
    """Read and validate a whole params.yaml.

    Raises
    ------
    GraftError
        Naming every fault with its line.
    """
    return read_whole(path, Params)


def _check_chosen(
    key: tuple[str, str], chosen: tuple[str, ...], section: str, known: Mapping[str, object]
) -> None:
    where = ".".join(key)
    for name in chosen:
        if name not in known:
            message = f"{where}: {name!r} is not in {section}; {expected(name, known)}"
            raise fault(message, *key)
    if len(set(chosen)) < len(chosen):
        raise fault(f"{where}: received [{', '.join(chosen)}]; list each name once", *key)
