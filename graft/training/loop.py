"""The only training loop: steps of gradient descent on L_tgt + R, compiled once per method."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from graft.compute.section import Precision, computing_in
from graft.core.errors import GraftError
from graft.core.network import Network, block_of
from graft.core.settings import Settings, fault
from graft.penalties.base import Arrays, Batch, Penalty
from graft.strategies.base import Phase
from graft.training.augmentation import Augmentation
from graft.training.checkpoints import Training
from graft.training.losses import LOSSES, LossName
from graft.training.optimizers import SGD, Adam, Optimizer, OptimizerName
from graft.training.prefetching import prefetched
from graft.training.schedules import ScheduleName, rates
from graft.training.stochastic_norm import with_stochastic_norm

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

STEPS_PER_CALL = 25

Curve = list[tuple[int, float]]
NormMode = Literal["frozen", "adapt", "stochastic"]


class DivergedError(GraftError):
    """The objective is no longer a number."""


class Recipe(Settings):
    """How long and how fast a network trains."""

    loss: LossName = "cross_entropy"
    steps: int = Field(ge=1)
    batch_size: int = Field(default=32, ge=1)
    optimizer: OptimizerName = "adam"
    learning_rate: float = Field(gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    schedule: ScheduleName = "cosine"
    warmup_steps: int = Field(default=0, ge=0)
    augmentation: Augmentation = Augmentation()

    @model_validator(mode="after")
    def _check_warmup(self) -> "Recipe":
        if self.warmup_steps > self.steps:
            message = f"warmup_steps: received {self.warmup_steps} of {self.steps} steps"
            raise fault(f"{message}; expected no more warm-up than steps", "warmup_steps")
        return self


class TrainingLoop:
    """Trains one network again and again: each cell of a method, with the same compiled steps.

    Parameters
    ----------
    network
        The network to train, in place.
    phases
        Which blocks train when, one after the other; the optimizer's state lasts.
    recipe
        Steps, rates and the loss.
    penalty, source
        R and the network at theta_0 that it compares with; none by default.
    batch_norm
        ``frozen``: BatchNorm stays in inference mode; ``adapt``: it trains with its block;
        ``stochastic``: it does, as `graft.training.stochastic_norm` says.
    precision
        What the body's layers compute in; all else is float32.

    Raises
    ------
    GraftError
        Where batches are too small for the penalty, or it has nothing to compare.
    """

    def __init__(
        self,
        network: Network,
        phases: Sequence[Phase],
        recipe: Recipe,
        penalty: Penalty | None = None,
        source: Network | None = None,
        *,
        batch_norm: NormMode = "adapt",
        precision: Precision = "float32",
    ) -> None:
        import tensorflow as tf

        self.network = network
        self.recipe = recipe
        self._penalty = penalty
        self._source = source
        self._precision = precision
        if penalty is not None:
            penalty.check_batch(recipe.batch_size)
        self._watched = penalty.watched(network) if penalty else ()
        self._forward = network.watched(self._watched)
        self._seed = tf.Variable([0, 0], trainable=False)
        self._stochastic = batch_norm == "stochastic"
        if self._stochastic:
            self._forward = with_stochastic_norm(self._forward, self._seed)
        trainable = [_trainable(network, phase, batch_norm != "frozen") for phase in phases]
        self._phases = list(zip(phases, trainable, strict=True))
        self.trained = frozenset().union(*trainable)
        """Paths of the tensors that training may move; every other one stays, bit for bit."""
        self._optimizers = self._built_optimizers()
        self._compiled: list[Any] = []

    def fit(
        self,
        inputs: npt.NDArray[Any],
        labels: npt.NDArray[Any],
        rng: np.random.Generator,
        on_steps: Callable[[int], None] | None = None,
        measured: Arrays | None = None,
        *,
        training: Training | None = None,
        learning_rate: float | None = None,
    ) -> Curve:
        """Train from the network's present weights with a fresh optimizer.

        Parameters
        ----------
        inputs, labels
            Raw inputs and class indices; `inputs` may be memory-mapped.
        rng
            Draws the order of the examples, the augmentation and what BatchNorm draws.
        on_steps
            Called with the number of steps done, every `STEPS_PER_CALL` or fewer steps.
        measured
            What the penalty measured beforehand, of the same shapes each time.
        training
            Where the state is saved every so often. An interrupted training of the same inputs,
            labels and `rng` that it holds is taken up, and ends as it would have ended.
        learning_rate
            Instead of the recipe's; the compiled steps are the same.

        Returns
        -------
        Curve
            (step, mean objective since the last entry), penalty included.

        Raises
        ------
        DivergedError
            When the objective is no longer a number.
        """
        import tensorflow as tf

        for optimizer, _ in self._optimizers:
            optimizer.reset()
        tensors = {name: tf.constant(array) for name, array in (measured or {}).items()}
        if not self._compiled:
            self._compiled = [self._steps_of(*phase, tensors) for phase in self._phases]
        recipe = self.recipe
        seeds = self._seeds(rng)
        order = example_order(len(inputs), recipe.steps, recipe.batch_size, rng)
        highest = learning_rate or recipe.learning_rate
        rate = highest * rates(recipe.schedule, recipe.steps, recipe.warmup_steps)
        curve: Curve = []
        if training is not None and training.state is not None:
            curve = self._restore(training.state, rng)
        done = curve[-1][0] if curve else 0
        calls = [call for call in self._calls() if call[1] > done]
        orders = (order[start:stop] for start, stop, _ in calls)
        batches = prefetched(self._batches(inputs, labels, orders, rng))
        for (start, stop, run_steps), (images, targets, drawn) in zip(calls, batches, strict=True):
            losses = run_steps(images, targets, rate[start:stop], seeds[start:stop], tensors)
            curve.append((stop, _finite(float(np.mean(losses.numpy())), stop)))
            if on_steps is not None:
                on_steps(stop)
            if training is not None:
                training.save(stop, partial(self._state, drawn, curve))
        return curve

    def _batches(
        self,
        inputs: npt.NDArray[Any],
        labels: npt.NDArray[Any],
        orders: Iterable[npt.NDArray[np.int64]],
        rng: np.random.Generator,
    ) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.float32], dict[str, Any]]]:
        """Yield images and targets of one call after the other, and the generator's state then."""
        one_hot = np.eye(self.network.num_classes, dtype=np.float32)
        for chosen in orders:
            images = self.recipe.augmentation.apply(inputs[chosen.ravel()], rng)
            images = images.reshape(*chosen.shape, *self.network.input_shape)
            yield images, one_hot[labels[chosen]], dict(rng.bit_generator.state)

    def _state(self, generator: dict[str, Any], curve: Curve) -> dict[str, npt.NDArray[Any]]:
        """Return all that changes from step to step, as arrays by name."""
        weights = {f"weights/{path}": value for path, value in self.network.weights().items()}
        optimizers = {name: variable.numpy() for name, variable in self._optimizer_variables()}
        steps, objectives = zip(*curve, strict=True)
        return {
            **weights,
            **optimizers,
            "curve/steps": np.array(steps, np.int64),
            "curve/objectives": np.array(objectives, np.float64),
            "generator": np.array(json.dumps(generator)),
        }

    def _restore(self, state: Mapping[str, npt.NDArray[Any]], rng: np.random.Generator) -> Curve:
        """Go back to what `_state` returned."""
        self.network.assign({path: state[f"weights/{path}"] for path in self.network.tensors})
        for name, variable in self._optimizer_variables():
            variable.assign(state[name])
        rng.bit_generator.state = json.loads(state["generator"].item())
        steps, objectives = state["curve/steps"], state["curve/objectives"]
        return list(zip(steps.tolist(), objectives.tolist(), strict=True))

    def _optimizer_variables(self) -> "Iterator[tuple[str, tf.Variable]]":
        for number, (optimizer, _) in enumerate(self._optimizers):
            for place, variable in enumerate(optimizer.variables):
                yield f"optimizer/{number}/{place}", variable

    def _seeds(self, rng: np.random.Generator) -> npt.NDArray[np.int32]:
        """Return what StochNorm draws from in each step, (steps, 2)."""
        shape = (self.recipe.steps, 2)
        if not self._stochastic:
            return np.zeros(shape, np.int32)
        # A child of its own: the batches are those of every other method.
        return rng.spawn(1)[0].integers(2**31, size=shape, dtype=np.int32)

    def _calls(self) -> list[tuple[int, int, Any]]:
        """Cut the steps into calls of the compiled functions, phase by phase."""
        ends = np.cumsum([phase.share for phase, _ in self._phases])
        ends = np.rint(ends / ends[-1] * self.recipe.steps).astype(int)
        calls = []
        start = 0
        for end, run_steps in zip(ends, self._compiled, strict=True):
            while start < end:
                stop = min(start + STEPS_PER_CALL, int(end))
                calls.append((start, stop, run_steps))
                start = stop
        return calls

    def _built_optimizers(self) -> list[tuple[Optimizer, frozenset[str]]]:
        """Return an optimizer, and the paths that are its own, for what each phase adds.

        It keeps its state from phase to phase. Adam's bias correction goes by the number of
        steps an optimizer has made: were there one for all, the steps of parameters that thaw
        late would be several times too long.
        """
        optimizers = []
        before: frozenset[str] = frozenset()
        for _, paths in self._phases:
            new = paths - before
            parameters = [v for path, v in self.network.parameters.items() if path in new]
            if parameters:
                optimizers.append((_optimizer(self.recipe, parameters), new))
            before |= paths
        return optimizers

    def _steps_of(
        self, phase: Phase, trainable: frozenset[str], measured: "Mapping[str, tf.Tensor]"
    ) -> Any:
        """Return the function that makes the steps of one call, one after the other."""
        import tensorflow as tf

        network = self.network
        parameters = network.parameters
        variables = [variable for path, variable in parameters.items() if path in trainable]
        factors = [phase.rates[block_of(variable.path)] for variable in variables]
        size = self.recipe.batch_size
        signature = [
            tf.TensorSpec((None, size, *network.input_shape), tf.uint8),
            tf.TensorSpec((None, size, network.num_classes), tf.float32),
            tf.TensorSpec((None,), tf.float32),
            tf.TensorSpec((None, 2), tf.int32),
            {name: tf.TensorSpec(value.shape, value.dtype) for name, value in measured.items()},
        ]

        # AutoGraph takes longer to rewrite all that is called than TensorFlow takes to trace it.
        @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
        def run_steps(
            inputs: Any, targets: Any, learning_rates: Any, seeds: Any, measured: Any
        ) -> Any:
            count = tf.shape(learning_rates)[0]

            def one_step(step: Any, losses: Any) -> Any:
                self._seed.assign(seeds[step])
                gradients, loss = self._gradients(inputs[step], targets[step], variables, measured)
                self._update(variables, gradients, factors, learning_rates[step])
                return step + 1, losses.write(step, loss)

            start = tf.constant(0), tf.TensorArray(tf.float32, size=count)
            _, losses = tf.while_loop(lambda step, _: step < count, one_step, start)
            return losses.stack()

        # Keras reads a layer's `trainable` while tracing, so trace now, with this phase's own.
        for layer in network.batch_norms:
            layer.trainable = layer.gamma.path in trainable
        layers = {id(each): each for each in (*network.body, *Network(self._forward).body)}
        with computing_in(self._precision, layers.values()):
            return run_steps.get_concrete_function()

    def _gradients(
        self,
        inputs: "tf.Tensor",
        targets: "tf.Tensor",
        variables: "list[keras.Variable]",
        measured: "Mapping[str, tf.Tensor]",
    ) -> "tuple[list[tf.Tensor], tf.Tensor]":
        """Return the gradients of the objective and the objective itself."""
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            features, logits, *outputs = self._forward(inputs, training=True)
            objective = LOSSES[self.recipe.loss](targets, logits)
            if self._penalty is not None and self._source is not None:
                outputs = [tf.cast(output, tf.float32) for output in outputs]
                maps = dict(zip(self._watched, outputs, strict=True))
                batch = Batch(inputs, targets, features, logits, maps, measured)
                objective += self._penalty(self.network, self._source, batch)
        return tape.gradient(objective, [variable.value for variable in variables]), objective

    def _update(
        self,
        variables: "list[keras.Variable]",
        gradients: "list[tf.Tensor]",
        factors: list[float],
        rate: "tf.Tensor",
    ) -> None:
        """Make one step of gradient descent, each block at its own rate."""
        rates = [rate * factor for factor in factors]
        steps = list(zip(gradients, variables, rates, strict=True))
        for optimizer, own in self._optimizers:
            if mine := [step for step in steps if step[1].path in own]:
                optimizer.apply(*zip(*mine, strict=True))
        if self._penalty is not None and self._source is not None:
            for variable, its_rate in zip(variables, rates, strict=True):
                origin = self._source.parameters[variable.path].value
                value = self._penalty.proximal(variable.path, variable.value, origin, its_rate)
                if value is not variable.value:
                    variable.assign(value)


def _finite(objective: float, step: int) -> float:
    if not math.isfinite(objective):
        raise DivergedError(
            f"training has diverged: the objective is {objective} at step {step}; "
            "lower learning_rate or the penalty's strength, or raise warmup_steps"
        )
    return objective


def example_order(
    count: int, steps: int, batch_size: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return which example stands where in which step, (steps, batch_size).

    One random order of all examples follows another, cut into batches: each example is shown
    equally often, give or take one, also where a batch is larger than the set.
    """
    passes = -(-steps * batch_size // count)
    orders = [rng.permutation(count) for _ in range(passes)]
    return np.concatenate(orders)[: steps * batch_size].reshape(steps, batch_size)


def _trainable(network: Network, phase: Phase, adapt_batch_norm: bool) -> frozenset[str]:
    """Return the paths of what may move in `phase`, BatchNorm's statistics included."""
    fixed = {
        variable.path
        for layer in network.batch_norms
        for variable in layer.weights
        if not adapt_batch_norm
    }
    return frozenset(
        path
        for path in network.tensors
        if path not in fixed and phase.rates.get(block_of(path), 0) > 0
    )


def _optimizer(recipe: Recipe, parameters: "Sequence[keras.Variable]") -> Optimizer:
    return SGD(parameters, recipe.momentum) if recipe.optimizer == "sgd" else Adam(parameters)
