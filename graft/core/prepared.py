"""Prepared tasks on disk: arrays that readers memory-map, and a card that says what they are.

A task is a folder with ``card.json`` and one folder per split, each with ``inputs.npy`` and
``labels.npy``. The target's splits lie apart so that a stage can depend on one alone: only
`evaluate` declares, and only it can see, the target's test split.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from graft.core.artifacts import RowWriter, load_array, load_json, save_json, slices
from graft.core.errors import GraftError
from graft.core.labels import Budget, held_out, label_ranks, labelled
from graft.core.streams import generator

# An example's key (see `row_bytes`) and the name of its class.
Example: TypeAlias = tuple[bytes, str]


@dataclass(frozen=True)
class Examples:
    """Every example of the chosen classes, in the data set's own order and shape.

    Attributes
    ----------
    inputs
        uint8, (n, height, width, channels) with 1 (grey) or 3 (RGB) channels. It may be
        memory-mapped: read it in slices.
    labels
        int32, (n,): positions in `class_names`.
    class_names
        In the order in which the classes were asked for, or the data set's own.
    is_test
        bool, (n,): the data set's own test split; None where it has none.
    notes
        Counts that a reader of the card should know, such as ``{"skipped_files": 2}``.
    """

    inputs: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    class_names: tuple[str, ...]
    is_test: npt.NDArray[np.bool_] | None = None
    notes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Split:
    """The examples of one split: memory-mapped inputs, and labels as class indices."""

    inputs: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Card:
    """What a prepared task is, read from its ``card.json``."""

    kind: str
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    examples_per_class: Mapping[str, Mapping[str, int]]
    labels_per_class: tuple[Budget, ...] = ()
    repeats: int = 0
    notes: Mapping[str, int] = field(default_factory=dict)

    def numeric_budgets(self) -> dict[Budget, float]:
        """Return each budget as labels per class; `all` is the mean over classes."""
        counts = list(self.examples_per_class["train"].values())
        return {
            budget: sum(counts) / len(counts) if budget == "all" else float(budget)
            for budget in self.labels_per_class
        }

    @classmethod
    def read(cls, folder: Path) -> "Card":
        """Read the card of the task in `folder`."""
        card = load_json(folder / "card.json")
        return cls(
            kind=card["kind"],
            class_names=tuple(card["class_names"]),
            input_shape=tuple(card["input_shape"]),
            examples_per_class=card["examples_per_class"],
            labels_per_class=tuple(card.get("labels_per_class", ())),
            repeats=card.get("repeats", 0),
            notes=card["notes"],
        )


def read_split(folder: Path) -> Split:
    """Memory-map the split in `folder`."""
    return Split(load_array(folder / "inputs.npy"), load_array(folder / "labels.npy"))


def write_source(
    folder: Path,
    examples: Examples,
    *,
    kind: str,
    validation_fraction: float,
    rng: np.random.Generator,
    exclude: frozenset[bytes] = frozenset(),
    labelled_by_target: frozenset[Example] = frozenset(),
) -> dict[str, Any]:
    """Write a source task: ``train`` and ``validation``, both from its training examples.

    The data set's own test split is left alone, and so is every example in `exclude` (the
    target's test images): a source must not have seen what the target is judged on.

    Parameters
    ----------
    labelled_by_target
        What the target has labels for in every repeat. All else is held out first: where both
        are the same task, both then train on the same examples as far as they go, and the card
        says how many of the source's are among them.

    Returns
    -------
    dict
        The card as written.
    """
    keys = row_bytes(examples.inputs)
    seen = np.array([key in exclude for key in keys], bool)
    usable = ~seen if examples.is_test is None else ~seen & ~examples.is_test
    _check_counts(examples, usable, needed=2, why="one to train on and one to validate on")
    rows = np.flatnonzero(usable)
    names = [examples.class_names[label] for label in examples.labels]
    shared = np.array([pair in labelled_by_target for pair in zip(keys, names, strict=True)], bool)
    validation = held_out(examples.labels[rows], validation_fraction, rng, first=~shared[rows])
    splits = {"train": rows[~validation], "validation": rows[validation]}
    notes = {
        **dict(examples.notes),
        "shared_with_target_test": int(np.sum(seen)),
        "train_shared_with_target": int(np.sum(shared[splits["train"]])),
    }
    return _write(folder, examples, splits, kind=kind, notes=notes)


def write_target(
    folder: Path,
    examples: Examples,
    *,
    kind: str,
    labels_per_class: Sequence[Budget],
    repeats: int,
    test_fraction: float,
    seed: int,
) -> dict[str, Any]:
    """Write the target task: ``test``, and in ``train`` every example that some budget labels.

    ``train/label_ranks.npy`` says which budgets: see `graft.core.labels.label_ranks`.

    Returns
    -------
    dict
        The card as written.
    """
    largest = max((b for b in labels_per_class if b != "all"), default=1)
    everyone = np.ones(len(examples.labels), bool)
    why = f"{largest} for the largest budget and one to test on"
    _check_counts(examples, everyone, needed=largest + 1, why=why)
    is_test = examples.is_test
    if is_test is None:
        rng = generator(seed, "test split")
        is_test = held_out(examples.labels, test_fraction, rng, keep=largest)
    _check_counts(examples, ~is_test, needed=largest, why="training, for the largest budget")
    _check_counts(examples, is_test, needed=1, why="testing")
    pool = np.flatnonzero(~is_test)
    ranks = label_ranks(examples.labels[pool], repeats, seed)
    if "all" not in labels_per_class:
        used = np.any(ranks < largest, axis=0)
        pool, ranks = pool[used], ranks[:, used]
    return _write(
        folder,
        examples,
        {"train": pool, "test": np.flatnonzero(is_test)},
        kind=kind,
        notes={**dict(examples.notes), "available_for_training": int(np.sum(~is_test))},
        extra={"labels_per_class": list(labels_per_class), "repeats": repeats},
        ranks=ranks,
    )


def always_labelled(folder: Path) -> frozenset[Example]:
    """Return the examples of a target that its largest budget labels in every repeat."""
    card, train = Card.read(folder), read_split(folder / "train")
    largest = card.labels_per_class[-1]
    ranks = load_array(folder / "train" / "label_ranks.npy")
    of_every = set.intersection(*(set(labelled(of_repeat, largest)) for of_repeat in ranks))
    # The inputs are read row by row: they may be more than memory holds.
    keys = row_bytes(train.inputs)
    return frozenset((keys[row], card.class_names[train.labels[row]]) for row in of_every)


def row_bytes(inputs: npt.NDArray[Any]) -> "list[bytes]":
    """Return each example's shape and content as a key by which equal examples are found."""
    shape = repr(inputs.shape[1:]).encode()
    return [
        hashlib.sha256(shape + row.tobytes()).digest()
        for part in slices(len(inputs), inputs)
        for row in np.asarray(inputs[part])
    ]


def _check_counts(
    examples: Examples, usable: npt.NDArray[np.bool_], *, needed: int, why: str
) -> None:
    if len(examples.class_names) < 2:
        raise GraftError(
            f"received one class, {examples.class_names[0]!r}; a task needs at least 2"
        )
    for label, name in enumerate(examples.class_names):
        count = int(np.sum(usable & (examples.labels == label)))
        if count < needed:
            raise GraftError(
                f"class {name!r} has {count} usable examples; expected at least {needed} ({why}); "
                "add examples, leave the class out, or lower labels_per_class"
            )


def _write(
    folder: Path,
    examples: Examples,
    splits: dict[str, npt.NDArray[np.intp]],
    *,
    kind: str,
    notes: dict[str, int],
    extra: dict[str, Any] | None = None,
    ranks: npt.NDArray[np.int32] | None = None,
) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    counts: dict[str, dict[str, int]] = {}
    for split, rows in splits.items():
        labels = examples.labels[rows]
        arrays[f"{split}/inputs.npy"] = _save_rows(folder, split, "inputs", examples.inputs, rows)
        arrays[f"{split}/labels.npy"] = _save_rows(folder, split, "labels", examples.labels, rows)
        counts[split] = {
            name: int(np.sum(labels == label)) for label, name in enumerate(examples.class_names)
        }
    if ranks is not None:
        rows = np.arange(len(ranks))
        arrays["train/label_ranks.npy"] = _save_rows(folder, "train", "label_ranks", ranks, rows)
    card = {
        "kind": kind,
        "class_names": list(examples.class_names),
        "input_shape": list(examples.inputs.shape[1:]),
        **(extra or {}),
        "examples": {split: len(rows) for split, rows in splits.items()},
        "examples_per_class": counts,
        "notes": notes,
        "arrays": arrays,
    }
    save_json(folder / "card.json", card)
    return card


def _save_rows(
    folder: Path, split: str, name: str, array: npt.NDArray[Any], rows: npt.NDArray[np.intp]
) -> dict[str, Any]:
    """Write `array[rows]` a slice at a time; return its line of the card."""
    path = folder / split / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with RowWriter(path, array.dtype, array.shape[1:]) as file:
        for part in slices(len(rows), array):
            values = np.ascontiguousarray(array[rows[part]])
            file.write(values)
            digest.update(values.data)
    shape = [len(rows), *array.shape[1:]]
    return {"shape": shape, "dtype": array.dtype.name, "sha256": digest.hexdigest()}
