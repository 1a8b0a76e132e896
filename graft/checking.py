"""Whether a study can start: the data of its tasks, found before anything is trained."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from graft.core.errors import GraftError
from graft.datasets.tasks import Task
from graft.params import Params

_SHOWN_CLASSES = 10


def check_data(given: Params, raw: Path) -> None:
    """Find the data of every candidate source and of the target; decode nothing.

    Raises
    ------
    GraftError
        Naming what is wrong with each task, a line or more per task.
    """
    faults = []
    for name, task in tasks(given).items():
        try:
            task.dataset.check(raw, task.classes)
        except GraftError as error:
            faults.append(f"{name}: {error}")
    if faults:
        raise GraftError("\n".join(faults))


def tasks(given: Params) -> dict[str, Task]:
    """Return the tasks in use by their place in params.yaml, the target last."""
    sources = {f"sources.{name}": given.sources[name] for name in given.source.candidates}
    return {**sources, "target": given.target}


def overview(given: Params) -> str:
    """Return what the study consists of, in a few aligned lines."""
    budgets, repeats = given.target.labels_per_class, given.target.repeats
    rows = [(name, _described(task)) for name, task in tasks(given).items()]
    rows += [
        ("labels per class", f"{_listed(budgets)}, each drawn {_count(repeats, 'time')}"),
        ("network", given.network.name),
        ("methods", f"{_listed(given.finetune.methods)}, and scratch as the control"),
        ("cells to train", _cells(given)),
        *_tuning(given),
        *_unused(given),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _cells(given: Params) -> str:
    sources, methods = len(given.source.candidates), len(given.finetune.methods)
    budgets, repeats = len(given.target.labels_per_class), given.target.repeats
    total = (sources * methods + 1) * budgets * repeats
    arms = f"{_count(sources, 'source')} x {_count(methods, 'method')} + the control"
    return f"{total:,} = ({arms}) x {_count(budgets, 'budget')} x {_count(repeats, 'repeat')}"


def _tuning(given: Params) -> Iterator[tuple[str, str]]:
    """Yield a row on the grids, where the arms have some: they are of one size."""
    size, folds = len(given.scratch.combinations), given.finetune.folds
    if size:
        combinations = _count(size, "combination")
        yield "tuning", f"{combinations} for each arm, in up to {folds} folds of each cell"


def _described(task: Task) -> str:
    if task.classes is None:
        return f"{task.dataset.name}, all classes"
    shown = task.classes[:_SHOWN_CLASSES]
    more = "" if len(shown) == len(task.classes) else ", ..."
    return f"{task.dataset.name}, {len(task.classes)} classes: {_listed(shown)}{more}"


def _unused(given: Params) -> Iterator[tuple[str, str]]:
    """Yield a row on what params.yaml describes and does not use."""
    unused = [f"sources.{name}" for name in given.sources if name not in given.source.candidates]
    unused += [f"methods.{name}" for name in given.methods if name not in given.finetune.methods]
    if unused:
        yield "not in use", _listed(unused)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _listed(items: Sequence[object]) -> str:
    return ", ".join(map(str, items))
