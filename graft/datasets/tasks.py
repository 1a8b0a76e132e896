"""What params.yaml says of the source tasks and of the target task."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from graft.core.labels import Budget
from graft.core.settings import Settings, fault
from graft.datasets.registry import AnyDataset


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
            received = len(self.classes)
            raise fault(f"classes: received {received}; a task needs at least 2", "classes")
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
            raise fault(
                f"labels_per_class: received [{received}]; list each once, "
                f"in increasing order: [{wanted}]",
                "labels_per_class",
            )
        return self
