"""The only training loop: steps of gradient descent on L_tgt + R, compiled once per method."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from graft.augmentation import Augmentation
from graft.errors import GraftError
from graft.losses import LOSSES, LossName
from graft.networks.base import Network, block_of
from graft.penalties.base import Batch, Penalty
from graft.schedules import ScheduleName, rates
from graft.settings import Settings, fault
from graft.strategies.base import Phase

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

STEPS_PER_CALL = 25

Curve = list[tuple[int, float]]


class Recipe(Settings):
    """How long and how fast a network trains."""

    loss: LossName = "cross_entropy"
    steps: int = Field(ge=1)
    batch_size: int = Field(default=32, ge=1)
    optimizer: Literal["adam", "sgd"] = "adam"
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
        Which blocks train when, one after the other, with one optimizer.
    recipe
        Steps, rates and the loss.
    penalty, source
        R and the network at theta_0 that it compares with; none by default.
    adapt_batch_norm
        Whether BatchNorm trains with its block; otherwise it stays in inference mode.
    """

    def __init__(
        self,
        network: Network,
        phases: Sequence[Phase],
        recipe: Recipe,
        penalty: Penalty | None = None,
        source: Network | None = None,
        *,
        adapt_batch_norm: bool = True,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self._penalty = penalty
        self._source = source
        trainable = [_trainable(network, phase, adapt_batch_norm) for phase in phases]
        ever = {path for paths in trainable for path in paths}
        parameters = [variable for path, variable in network.parameters.items() if path in ever]
        self._optimizer = _optimizer(recipe)
        self._optimizer.build(parameters)
        self._fresh = [variable.numpy() for variable in self._optimizer.variables]
        self._phases = [
            (phase, self._compiled(phase, paths))
            for phase, paths in zip(phases, trainable, strict=True)
        ]
        self.trained = frozenset(ever)
        """Paths of the tensors that training may move; every other one stays, bit for bit."""

    def fit(
        self,
        inputs: npt.NDArray[Any],
        labels: npt.NDArray[Any],
        rng: np.random.Generator,
        on_steps: Callable[[int], None] | None = None,
    ) -> Curve:
        """Train from the network's present weights with a fresh optimizer.

        Parameters
        ----------
        inputs, labels
            Raw inputs and class indices; `inputs` may be memory-mapped.
        rng
            Draws the order of the examples and the augmentation.
        on_steps
            Called with the number of steps done, every `STEPS_PER_CALL` or fewer steps.

        Returns
        -------
        Curve
            (step, mean objective since the last entry), penalty included.

        Raises
        ------
        GraftError
            When the objective is no longer a number.
        """
        for variable, value in zip(self._optimizer.variables, self._fresh, strict=True):
            variable.assign(value)
        recipe = self.recipe
        order = example_order(len(inputs), recipe.steps, recipe.batch_size, rng)
        rate = recipe.learning_rate * rates(recipe.schedule, recipe.steps, recipe.warmup_steps)
        one_hot = np.eye(self.network.num_classes, dtype=np.float32)
        curve: Curve = []
        for start, stop, run_steps in self._calls():
            chosen = order[start:stop]
            images = recipe.augmentation.apply(inputs[chosen.ravel()], rng)
            images = images.reshape(*chosen.shape, *self.network.input_shape)
            losses = run_steps(images, one_hot[labels[chosen]], rate[start:stop])
            curve.append((stop, _finite(float(np.mean(losses.numpy())), stop)))
            if on_steps is not None:
                on_steps(stop)
        return curve

    def _calls(self) -> list[tuple[int, int, Any]]:
        """Cut the steps into calls of the compiled functions, phase by phase."""
        ends = np.cumsum([phase.share for phase, _ in self._phases])
        ends = np.rint(ends / ends[-1] * self.recipe.steps).astype(int)
        calls = []
        start = 0
        for end, (_, run_steps) in zip(ends, self._phases, strict=True):
            while start < end:
                stop = min(start + STEPS_PER_CALL, int(end))
                calls.append((start, stop, run_steps))
                start = stop
        return calls

    def _compiled(self, phase: Phase, trainable: frozenset[str]) -> Any:
        """Return the function that makes the steps of one call, one after the other."""
        import tensorflow as tf

        parameters = self.network.parameters
        variables = [variable for path, variable in parameters.items() if path in trainable]
        factors = [phase.rates[block_of(variable.path)] for variable in variables]
        size = self.recipe.batch_size
        signature = [
            tf.TensorSpec((None, size, *self.network.input_shape), tf.uint8),
            tf.TensorSpec((None, size, self.network.num_classes), tf.float32),
            tf.TensorSpec((None,), tf.float32),
        ]

        @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
        def run_steps(inputs: Any, targets: Any, learning_rates: Any) -> Any:
            count = tf.shape(learning_rates)[0]
            losses = tf.TensorArray(tf.float32, size=count)
            for step in tf.range(count):
                self._optimizer.learning_rate.assign(learning_rates[step])
                loss = self._step(inputs[step], targets[step], variables, factors)
                losses = losses.write(step, loss)
            return losses.stack()

        # Keras reads a layer's `trainable` while tracing, so trace now, with this phase's own.
        for layer in self.network.batch_norms:
            layer.trainable = layer.gamma.path in trainable
        return run_steps.get_concrete_function()

    def _step(
        self,
        inputs: "tf.Tensor",
        targets: "tf.Tensor",
        variables: "list[keras.Variable]",
        factors: list[float],
    ) -> "tf.Tensor":
        """Make one step of gradient descent; return the objective before it."""
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            features, logits = self.network.outputs(inputs, training=True)
            objective = LOSSES[self.recipe.loss](targets, logits)
            if self._penalty is not None and self._source is not None:
                batch = Batch(inputs, targets, features, logits)
                objective += self._penalty(self.network, self._source, batch)
        gradients = tape.gradient(objective, [variable.value for variable in variables])
        before = [tf.identity(v.value) for v, f in zip(variables, factors, strict=True) if f != 1]
        self._optimizer.apply(gradients, variables)
        # A block's own rate scales its update, whatever the optimizer made of its gradient.
        slowed = [(v, f) for v, f in zip(variables, factors, strict=True) if f != 1]
        for old, (variable, factor) in zip(before, slowed, strict=True):
            variable.assign(old + factor * (variable.value - old))
        return objective


def _finite(objective: float, step: int) -> float:
    if not math.isfinite(objective):
        raise GraftError(
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


def _optimizer(recipe: Recipe) -> "keras.optimizers.Optimizer":
    import keras

    if recipe.optimizer == "sgd":
        return keras.optimizers.SGD(recipe.learning_rate, momentum=recipe.momentum)
    return keras.optimizers.Adam(recipe.learning_rate)
