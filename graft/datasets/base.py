"""What every data set is to the rest of graft."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from graft.core.errors import GraftError
from graft.core.prepared import Examples
from graft.core.settings import Settings, expected


class Dataset(Settings, ABC):
    """A kind of data set; its fields are what params.yaml says about it.

    `kind` decides which adapter a network puts in front of its body.
    """

    kind: ClassVar[str] = "image"
    name: str

    @abstractmethod
    def check(self, raw: Path, classes: Sequence[str] | None) -> None:
        """Raise a GraftError if the data or the chosen classes are not to be had.

        Fast: it looks for files and reads names, and decodes nothing.
        """

    @abstractmethod
    def load(
        self,
        raw: Path,
        classes: Sequence[str] | None,
        rng: np.random.Generator,
        workspace: Path,
    ) -> Examples:
        """Return the examples of `classes`, labelled by their place in that list.

        Parameters
        ----------
        raw
            The folder in which the user's own files lie (`data/raw`).
        classes
            Names of the classes wanted; None for all, in the data set's own order.
        rng
            The data set's random stream; only data sets that are drawn use it.
        workspace
            An empty folder that outlives the returned arrays, for memory-mapped ones.

        Raises
        ------
        GraftError
            When the data are missing, broken, or lack one of `classes`.
        """


def chosen_classes(available: Sequence[str], classes: Sequence[str] | None) -> tuple[str, ...]:
    """Return the wanted classes, or all, after checking that each one exists once."""
    if classes is None:
        return tuple(available)
    for name in classes:
        if name not in available:
            raise GraftError(f"classes: no class {name!r} here; {expected(name, available)}")
    repeated = sorted({name for name in classes if list(classes).count(name) > 1})
    if repeated:
        raise GraftError(f"classes: {', '.join(repeated)} listed more than once; list each once")
    return tuple(classes)


def select(examples: Examples, classes: Sequence[str] | None) -> Examples:
    """Return the examples of the wanted classes alone, labelled by their place in `classes`."""
    names = chosen_classes(examples.class_names, classes)
    place = np.full(len(examples.class_names), -1, np.int32)
    place[[examples.class_names.index(name) for name in names]] = np.arange(len(names))
    labels = place[examples.labels]
    kept = labels >= 0
    is_test = None if examples.is_test is None else examples.is_test[kept]
    return replace(
        examples,
        inputs=examples.inputs if kept.all() else examples.inputs[kept],
        labels=labels[kept],
        class_names=names,
        is_test=is_test,
    )
