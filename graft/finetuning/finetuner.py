"""Fine-tuning of every cell of one method: (label budget, repeat)."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from graft.compute.section import Precision
from graft.core.artifacts import array_sha256
from graft.core.errors import GraftError
from graft.core.in_use import MethodsInUse
from graft.core.labels import Budget, Cell, cells, labelled
from graft.core.network import HEAD, Network, Weights
from graft.core.sections import Part
from graft.core.settings import fault
from graft.core.streams import generator
from graft.finetuning.averaging import averaged
from graft.finetuning.grids import Values
from graft.finetuning.methods import Method
from graft.fitting.head import solve_head
from graft.penalties.base import Arrays, Evidence, SourceTask
from graft.training.checkpoints import Checkpoint
from graft.training.loop import Curve, Recipe, TrainingLoop

# C of the head that theta_0 carries in WiSE-FT where the strategy solves none of its own.
_PROBE_C = 1.0


class CellTraining(Part):
    """How each cell trains, and the folds by which `auto` chooses."""

    folds: int = Field(ge=0, le=100)
    training: Recipe

    @model_validator(mode="after")
    def _check_folds(self) -> "CellTraining":
        if self.folds == 1:
            message = "folds: received 1; expected 0 (no cross-validation) or at least 2"
            raise fault(message, "folds")
        return self


class FinetuneSection(MethodsInUse, CellTraining):
    """The methods in use, how each cell trains, and the folds by which `auto` chooses."""


@dataclass(frozen=True)
class Tuning:
    """How the values of one cell were chosen from its method's grid.

    Attributes
    ----------
    chosen
        Values by the names of the grid.
    reason
        Why the method's own values stand; None where cross-validation chose.
    folds
        Of the cross-validation.
    scores
        Out-of-fold accuracy and log loss of each combination, in the order of the grid; None
        where training diverged.
    best
        Place of the chosen combination among them.
    temperature
        What suits the out-of-fold probabilities of the chosen combination, where it is known.
    """

    chosen: Values
    reason: str | None = None
    folds: int = 0
    scores: Sequence[tuple[float, float] | None] = ()
    best: int | None = None
    temperature: float | None = None

    @property
    def record(self) -> dict[str, Any]:
        """What the metrics say of it."""
        if self.reason:
            return {"folds": 0, "reason": self.reason}
        scores = [s and {"accuracy": s[0], "log_loss": s[1]} for s in self.scores]
        return {"folds": self.folds, "best": self.best, "scores": scores}


@dataclass(frozen=True)
class Finetuned:
    """What fine-tuning made of one cell.

    Attributes
    ----------
    weights
        The tensors that the method may move; every other one is as at the start, bit for bit.
    steps
        Steps of gradient descent; 0 where the head was solved and nothing else trained.
    curve
        (step, mean objective since the last entry).
    tuning
        How the method's values were chosen in this cell; None without a grid.
    """

    weights: Weights
    steps: int
    curve: Curve
    tuning: Tuning | None = None

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all of it as named arrays."""
        return {
            "steps": np.array(self.steps),
            "curve/steps": np.array([step for step, _ in self.curve], np.int64),
            "curve/objectives": np.array([value for _, value in self.curve], np.float64),
            **{f"weights/{path}": value for path, value in self.weights.items()},
        }

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "Finetuned":
        """Return what `arrays` was made from, to the bit."""
        steps, objectives = (arrays[f"curve/{part}"].tolist() for part in ("steps", "objectives"))
        prefix = "weights/"
        weights = {p.removeprefix(prefix): a for p, a in arrays.items() if p.startswith(prefix)}
        return cls(weights, int(arrays["steps"]), list(zip(steps, objectives, strict=True)))


class Finetuner:
    """Fine-tunes one network by one method, again and again, with steps compiled once.

    Parameters
    ----------
    network
        The target network at theta_0. It is trained in place; each cell starts afresh.
    method
        Strategy, penalty and BatchNorm policy.
    recipe
        Steps and rates, shared by all methods.
    source
        The source task, for a penalty that measures something on it.
    checkpoint
        What an interrupted run of the stage had finished; by default nothing.
    precision
        What the body's layers compute in while they train.
    """

    def __init__(
        self,
        network: Network,
        method: Method,
        recipe: Recipe,
        source: SourceTask | None = None,
        checkpoint: Checkpoint | None = None,
        *,
        precision: Precision = "float32",
    ) -> None:
        self.network = network
        self.method = method
        self.checkpoint = checkpoint or Checkpoint()
        self.recipe = recipe
        self._precision = precision
        self._initial = network.weights()
        self._source_task = source
        self._theta_0 = network.copy() if method.penalty else None
        self._measured: Arrays | None = None
        self._alike: Finetuner | None = None
        _check_head(method, network)

    def variants(self, methods: Iterable[Method]) -> "list[Finetuner]":
        """Return one per method, of the same network, recipe and theta_0.

        Methods that differ in their learning rate alone share the compiled steps, and what
        their penalty measures.
        """
        first: dict[Method, Finetuner] = {}
        result = []
        for method in methods:
            twin = copy(self)
            twin.__dict__.pop("_loop", None)
            twin.__dict__.pop("trained", None)
            twin.method, twin._measured = method, None
            rateless = method.model_copy(update={"learning_rate": None})
            alike = first.setdefault(rateless, twin)
            twin._alike = None if alike is twin else alike
            result.append(twin)
        return result

    @cached_property
    def trained(self) -> frozenset[str]:
        """Paths of the tensors that the method may move."""
        paths = set(self._loop.trained if self._loop else ())
        if self.method.batch_norm == "recompute":
            paths |= self.network.tensors.keys() - self.network.parameters.keys()
        if self.method.strategy.solved_head is not None or self.method.wise_ft is not None:
            paths |= {f"{HEAD}/kernel", f"{HEAD}/bias"}
        return frozenset(paths)

    def train(
        self,
        inputs: npt.NDArray[Any],
        labels: npt.NDArray[Any],
        rng: np.random.Generator,
        *,
        start: Weights | None = None,
        features: npt.NDArray[Any] | None = None,
        on_steps: Callable[[int], None] | None = None,
    ) -> Finetuned:
        """Train on labelled examples; leave the network with the trained weights.

        Parameters
        ----------
        inputs, labels
            Raw inputs and class indices of the labelled examples.
        rng
            Draws the order of examples and the augmentation.
        start
            Weights to begin with instead of theta_0: those of the control.
        features
            The examples' representation at theta_0, where it was extracted before.
        on_steps
            Called with the number of steps done.
        """
        before = self._begin(start)
        theta_0 = self._prepare(inputs, labels, features)
        curve: Curve = []
        if self._loop:
            measured = self._measure(inputs, labels)
            rate = self.method.learning_rate
            curve = self._loop.fit(inputs, labels, rng, on_steps, measured, learning_rate=rate)
        if self.method.wise_ft is not None:
            ended = {path: self.network.tensors[path].numpy() for path in sorted(self.trained)}
            self.network.assign(averaged(theta_0, ended, self.method.wise_ft))
        after = self.network.weights()
        _check_frozen(before, after, self.trained)
        weights = {path: after[path] for path in after if path in self.trained}
        return Finetuned(weights, self.recipe.steps if self._loop else 0, curve)

    def adopt(self, finetuned: Finetuned, start: Weights | None = None) -> None:
        """Leave the network as `train` did, from the same `start`."""
        self._begin(start)
        self.network.assign(finetuned.weights)

    def _begin(self, start: Weights | None) -> Weights:
        before = {**self._initial, **(start or {})}
        self.network.assign(before)
        return before

    def _prepare(
        self,
        inputs: npt.NDArray[Any],
        labels: npt.NDArray[Any],
        features: npt.NDArray[Any] | None,
    ) -> Weights:
        """Do what comes before the first step: BatchNorm's statistics, the solved head.

        Returns
        -------
        Weights
            Those with which training starts; for WiSE-FT, with the probe's head in any case.
        """
        if self.method.batch_norm == "recompute":
            self.network.recompute_statistics(inputs)
            features = None
        c = self.method.strategy.solved_head
        if c is None and self.method.wise_ft is None:
            return self.network.weights()
        known = self.network.features(inputs) if features is None else features
        kernel, bias = solve_head(known, labels, self.network.num_classes, c or _PROBE_C)
        head = {f"{HEAD}/kernel": kernel, f"{HEAD}/bias": bias}
        if c is not None:
            self.network.assign(head)
        return {**self.network.weights(), **head}

    def _measure(self, inputs: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Arrays:
        """Return what the penalty measures: anew for each cell, or once for all of them."""
        if self._alike is not None:
            return self._alike._measure(inputs, labels)
        penalty = self.method.penalty
        if penalty is None or self._theta_0 is None or penalty.measures == "nothing":
            return {}
        if self._source_task is None:
            raise ValueError(f"penalty {penalty.name!r} measures the source; pass `source`")
        if self._measured is None or penalty.measures == "cell":
            evidence = Evidence(self._source_task, self._theta_0, inputs, labels)
            self._measured = penalty.measure(evidence)
        return self._measured

    @cached_property
    def _loop(self) -> TrainingLoop | None:
        if self._alike is not None:
            return self._alike._loop
        phases = self.method.phases(self.network.blocks)
        if not phases:
            return None
        return TrainingLoop(
            self.network,
            phases,
            self.recipe,
            self.method.penalty,
            self._theta_0,
            batch_norm="frozen"
            if self.method.batch_norm == "recompute"
            else self.method.batch_norm,
            precision=self._precision,
        )


@dataclass(frozen=True)
class Labelled:
    """The target's labelled examples, from which every budget is taken.

    `ranks` is `graft.core.labels.label_ranks` of them; `features` their representation at theta_0.
    """

    inputs: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    ranks: npt.NDArray[np.int32]
    features: npt.NDArray[Any] | None = None

    def train(
        self,
        finetuner: Finetuner,
        rows: npt.NDArray[np.intp],
        rng: np.random.Generator,
        start: Weights | None = None,
    ) -> Finetuned:
        """Fine-tune on the examples in `rows`, unless an interrupted run has done so.

        The network is left with the trained weights.
        """
        name = f"cell-{_work(finetuner, rows, rng, start)}"
        found = finetuner.checkpoint.read(name)
        if found is not None:
            finetuned = Finetuned.of(found)
            finetuner.adopt(finetuned, start)
            return finetuned
        finetuned = self._train(finetuner, rows, rng, start)
        finetuner.checkpoint.write(name, finetuned.arrays())
        return finetuned

    def held_out(
        self,
        finetuner: Finetuner,
        rows: npt.NDArray[np.intp],
        held: npt.NDArray[np.intp],
        rng: np.random.Generator,
        start: Weights | None = None,
    ) -> npt.NDArray[Any]:
        """Fine-tune on the examples in `rows`; return the class probabilities of those in `held`.

        An interrupted run leaves the probabilities alone, (n, classes): there can be many folds.
        """

        def predicted() -> dict[str, npt.NDArray[Any]]:
            self._train(finetuner, rows, rng, start)
            return {"probabilities": finetuner.network.probabilities(self.inputs[held])}

        name = f"held-out-{_work(finetuner, rows, rng, start, held)}"
        return finetuner.checkpoint.remembered(name, predicted)["probabilities"]

    def _train(
        self,
        finetuner: Finetuner,
        rows: npt.NDArray[np.intp],
        rng: np.random.Generator,
        start: Weights | None,
    ) -> Finetuned:
        features = None if self.features is None else self.features[rows]
        return finetuner.train(
            self.inputs_of(rows), self.labels[rows], rng, start=start, features=features
        )

    def inputs_of(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """Return the inputs in `rows`; where they are all of them, still memory-mapped."""
        everything = np.array_equal(rows, np.arange(len(self.inputs)))
        return self.inputs if everything else self.inputs[rows]


def finetune_cells(
    finetuner: Finetuner,
    labelled_examples: Labelled,
    budgets: Sequence[Budget],
    repeats: int,
    *,
    seed: int,
    starts: Sequence[Weights] | None = None,
    tune: Callable[[Cell], tuple[Finetuner, Tuning]] | None = None,
) -> Iterator[tuple[Cell, Finetuned, float]]:
    """Yield every cell, what became of it, and its accuracy on its own labels.

    The order of examples is drawn from a stream named by the cell alone: methods that are
    compared see the same batches.

    Parameters
    ----------
    starts
        One set of initial weights per repeat, for the control.
    tune
        What chooses the values of a cell beforehand, for a method with a grid.
    """
    for cell in cells(budgets, repeats):
        rows = labelled(labelled_examples.ranks[cell.repeat], cell.labels_per_class)
        rng = generator(seed, "order", cell.name)
        start = starts[cell.repeat] if starts else None
        by, tuning = tune(cell) if tune else (finetuner, None)
        finetuned = replace(labelled_examples.train(by, rows, rng, start), tuning=tuning)
        inputs, labels = labelled_examples.inputs_of(rows), labelled_examples.labels[rows]
        predicted = finetuner.network.probabilities(inputs).argmax(axis=1)
        yield cell, finetuned, float(np.mean(predicted == labels))


def _check_head(method: Method, network: Network) -> None:
    """Refuse to leave a head as it is that is not the source's."""
    settled = method.strategy.solved_head is not None or method.wise_ft is not None
    trains = any(HEAD in phase.rates for phase in method.strategy.phases(network.blocks))
    if not (settled or trains or network.tensors[f"{HEAD}/kernel"].numpy().any()):
        raise GraftError(
            f"strategy {method.strategy.name!r} leaves the head as it is, and this one is new: "
            "the source does not know every class of the target, or transfer.head is new; "
            "use another strategy, such as probe"
        )


def _work(
    finetuner: Finetuner,
    rows: npt.NDArray[np.intp],
    rng: np.random.Generator,
    start: Weights | None,
    held: npt.NDArray[np.intp] | None = None,
) -> str:
    """Return the name of a piece of work: a hash of all that sets it apart within its stage."""
    texts = [
        finetuner.method.model_dump_json(),
        finetuner.recipe.model_dump_json(),
        json.dumps(rng.bit_generator.state),
        *(f"{path} {array_sha256(value)}" for path, value in (start or {}).items()),
        *(array_sha256(each) for each in (rows, held) if each is not None),
    ]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


def _check_frozen(before: Weights, after: Weights, trained: frozenset[str]) -> None:
    moved = [
        path
        for path, value in before.items()
        if path not in trained and value.tobytes() != after[path].tobytes()
    ]
    if moved:
        raise RuntimeError(f"tensors declared frozen have moved: {', '.join(moved)}")
