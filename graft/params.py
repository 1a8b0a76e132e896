"""params.yaml as typed, frozen, strict objects: one section per stage."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, model_validator

from graft.datasets import DATASETS, Dataset
from graft.errors import GraftError
from graft.labels import Budget
from graft.methods import AnyPenalty, Method
from graft.networks import NETWORKS, Architecture
from graft.penalties import PENALTIES
from graft.settings import Settings, expected
from graft.strategies.scratch import Scratch
from graft.training import Recipe
from graft.transferring import HeadPolicy
from graft.yaml_file import Position, parse

if TYPE_CHECKING:
    AnyDataset = Dataset
    AnyNetwork = Architecture
else:
    AnyDataset = Annotated[Union[tuple(DATASETS.values())], Field(discriminator="name")]
    AnyNetwork = Annotated[Union[tuple(NETWORKS.values())], Field(discriminator="name")]

# A hyphen in a name can make two of DVC's matrix names collide, and DVC then drops a stage.
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


def _class_names(given: Any) -> Any:
    """Read `all` as None, and the digits that YAML takes for numbers as names."""
    if given == "all":
        return None
    if isinstance(given, list | tuple):
        return tuple(str(name) if type(name) is int else name for name in given)
    return given


Classes = Annotated[tuple[str, ...] | None, BeforeValidator(_class_names)]


class Task(Settings):
    """A data set and the classes of it that make up a task."""

    dataset: AnyDataset
    classes: Classes = None

    @model_validator(mode="after")
    def _check_classes(self) -> "Task":
        if self.classes is not None and len(self.classes) < 2:
            raise ValueError(f"classes: received {len(self.classes)}; a task needs at least 2")
        return self


class TargetTask(Task):
    """The target: besides its data, the label budgets and how often each is drawn."""

    labels_per_class: tuple[Budget, ...] = Field(min_length=1)
    repeats: int = Field(default=5, ge=1, le=1000)
    test_fraction: float = Field(default=0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _check_budgets(self) -> "TargetTask":
        numbers = [budget for budget in self.labels_per_class if budget != "all"]
        in_order = [*sorted(set(numbers)), *(["all"] if "all" in self.labels_per_class else [])]
        if list(self.labels_per_class) != in_order:
            received = ", ".join(map(str, self.labels_per_class))
            wanted = ", ".join(map(str, in_order))
            raise ValueError(
                f"labels_per_class: received [{received}]; list each once, "
                f"in increasing order: [{wanted}]"
            )
        return self


class SourceSection(Settings):
    """Which of `sources` are in use, and how much of each is held out from training."""

    candidates: tuple[Identifier, ...] = Field(min_length=1)
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)


class ScratchSection(Settings):
    """The control. The rest of its training is `finetune.training`, as for every method."""

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
        )

    @model_validator(mode="after")
    def _check_penalty(self) -> "ScratchSection":
        if self.penalty is not None and self.penalty.needs_source:
            names = [name for name, kind in PENALTIES.items() if not kind.needs_source]
            raise ValueError(
                f"penalty {self.penalty.name!r} compares with a source, which the control does "
                f"not have; {expected(self.penalty.name, names)}"
            )
        return self


class TransferSection(Settings):
    """What becomes of the head when the target starts from the source."""

    head: HeadPolicy = "auto"


class FinetuneSection(Settings):
    """The methods in use, how each cell trains, and the folds by which `auto` chooses."""

    methods: tuple[Identifier, ...] = Field(min_length=1)
    folds: int = Field(default=5, ge=0, le=100)
    training: Recipe

    @model_validator(mode="after")
    def _check_folds(self) -> "FinetuneSection":
        if self.folds == 1:
            raise ValueError("folds: received 1; expected 0 (no cross-validation) or at least 2")
        return self


class EvaluateSection(Settings):
    """How the answer is worked out.

    Attributes
    ----------
    method
        Whose gain is the headline: a method's name, or the best by cross-validation.
    headline_budget
        The budget that the headline speaks of.
    margin
        Accuracy differences within it count as none.
    """

    method: str = "auto"
    headline_budget: Literal["smallest"] | Budget = "smallest"
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    margin: float = Field(default=0.01, ge=0, lt=1)
    resamples: int = Field(default=2000, ge=100, le=1_000_000)


class Params(Settings):
    """The whole of params.yaml."""

    seed: int = Field(ge=0, lt=2**32)
    sources: dict[Identifier, Task]
    source: SourceSection
    target: TargetTask
    network: AnyNetwork
    train_source: Recipe
    scratch: ScratchSection = ScratchSection()
    transfer: TransferSection = TransferSection()
    methods: dict[Identifier, Method]
    finetune: FinetuneSection
    evaluate: EvaluateSection = EvaluateSection()

    @model_validator(mode="after")
    def _check_names(self) -> "Params":
        _check_chosen("source.candidates", self.source.candidates, "sources", self.sources)
        _check_chosen("finetune.methods", self.finetune.methods, "methods", self.methods)
        for name, entry in self.methods.items():
            if entry.strategy.start == "random":
                raise ValueError(
                    f"methods.{name}.strategy: {entry.strategy.name!r} transfers nothing; it is "
                    "the control, which always runs: its settings are the section `scratch`"
                )
        method = self.evaluate.method
        if method != "auto" and method not in self.finetune.methods:
            choices = ["auto", *self.finetune.methods]
            raise ValueError(f"evaluate.method: unknown {method!r}; {expected(method, choices)}")
        return self

    @model_validator(mode="after")
    def _check_evaluation(self) -> "Params":
        budget, budgets = self.evaluate.headline_budget, self.target.labels_per_class
        if budget != "smallest" and budget not in budgets:
            raise ValueError(
                f"evaluate.headline_budget: received {budget}; expected smallest or one of "
                f"target.labels_per_class: {', '.join(map(str, budgets))}"
            )
        arms = len(self.source.candidates) * len(self.finetune.methods)
        if self.evaluate.method == "auto" and arms > 1 and not self.finetune.folds:
            raise ValueError(
                "evaluate.method: auto chooses by cross-validation, and finetune.folds is 0; "
                "set finetune.folds to 2 or more, or name a method"
            )
        if self.evaluate.method != "auto" and len(self.source.candidates) > 1:
            if not self.finetune.folds:
                raise ValueError(
                    "finetune.folds: received 0 with several source.candidates; the best source "
                    "is chosen by cross-validation, so set it to 2 or more"
                )
        return self


def load(path: Path) -> Params:
    """Read and validate a params.yaml.

    Raises
    ------
    GraftError
        Naming every fault with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise GraftError(f"{path} is missing; run in a graft project, or name the file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise GraftError(f"{path} cannot be read as UTF-8 text: {error}") from None
    value, lines = parse(text, str(path))
    if not isinstance(value, dict):
        raise GraftError(f"{path}: received {type(value).__name__}; expected a mapping of sections")
    try:
        return Params.model_validate(value)
    except ValidationError as error:
        faults = [_fault(dict(fault), lines, path) for fault in error.errors(include_url=False)]
        raise GraftError("\n".join(faults)) from None


def _check_chosen(
    key: str, chosen: tuple[str, ...], section: str, known: Mapping[str, object]
) -> None:
    for name in chosen:
        if name not in known:
            raise ValueError(f"{key}: {name!r} is not in {section}; {expected(name, known)}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{key}: received [{', '.join(chosen)}]; list each name once")


def _fault(fault: dict[str, Any], lines: Mapping[Position, int], path: Path) -> str:
    """Return one fault as ``params.yaml:LINE: where: what``."""
    position: Position = ()
    for step in fault["loc"]:
        # pydantic puts the names of union members in between; they are no keys of the file.
        if (*position, step) in lines:
            position = (*position, step)
    where = ".".join(map(str, position))
    key = fault.get("ctx", {}).get("key")
    line = lines.get((*position, key), lines.get(position, 1))
    return f"{path}:{line}: {where + ': ' if where else ''}{_what(fault)}"


def _what(fault: dict[str, Any]) -> str:
    context = fault.get("ctx", {})
    match fault["type"]:
        case "unknown_key" | "value_error":
            return str(context.get("message") or context.get("error"))
        case "union_tag_invalid":
            names = [name.strip(" '") for name in context["expected_tags"].split(",")]
            return f"unknown name {context['tag']!r}; {expected(context['tag'], names)}"
        case "union_tag_not_found":
            return "expected a mapping with the key 'name'"
        case "missing":
            return f"{fault['loc'][-1]!r} is missing; it has no default"
    message = str(fault["msg"])
    received = repr(fault["input"])
    received = received if len(received) <= 60 else received[:57] + "..."
    return f"{message[0].lower()}{message[1:]}; received {received}"
