"""The optimizers, each update of a parameter in one of TensorFlow's fused kernels.

Keras composes the same update of a dozen operations, with which a step of the default study's
network takes a seventh longer.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

OptimizerName = Literal["adam", "sgd"]


class Optimizer(ABC):
    """Gradient descent on some parameters, whose state begins at zero."""

    @property
    @abstractmethod
    def variables(self) -> "list[tf.Variable]":
        """All of the state, always in the same order."""

    def apply(
        self,
        gradients: "Sequence[tf.Tensor]",
        parameters: "Sequence[keras.Variable]",
        rates: "Sequence[tf.Tensor]",
    ) -> None:
        """Make one step: some of the parameters, each by its gradient and at its own rate."""
        self.begin_step()
        for gradient, parameter, rate in zip(gradients, parameters, rates, strict=True):
            self.update(parameter, gradient, rate)

    def begin_step(self) -> None:  # noqa: B027 - most have nothing to do
        """Do what comes once a step, before the first update."""

    @abstractmethod
    def update(self, parameter: "keras.Variable", gradient: "tf.Tensor", rate: "tf.Tensor") -> None:
        """Update one parameter."""

    def reset(self) -> None:
        """Forget every step."""
        import tensorflow as tf

        for variable in self.variables:
            variable.assign(tf.zeros_like(variable))


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), with epsilon beside the uncorrected root as in their section 2.

    The rate is sqrt(1 - beta2^t) / (1 - beta1^t) times that given, at the t-th step.
    """

    beta1, beta2, epsilon = 0.9, 0.999, 1e-7

    def __init__(self, parameters: "Sequence[keras.Variable]") -> None:
        import tensorflow as tf

        self._steps = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._means = _zeros(parameters)
        self._squares = _zeros(parameters)

    @property
    def variables(self) -> "list[tf.Variable]":
        """The number of steps, then both moments."""
        return [self._steps, *self._means.values(), *self._squares.values()]

    def begin_step(self) -> None:
        """Count the step, on which the correction of both moments depends."""
        import tensorflow as tf

        steps = tf.cast(self._steps.assign_add(1), tf.float32)
        self._powers = tf.pow(self.beta1, steps), tf.pow(self.beta2, steps)

    def update(self, parameter: "keras.Variable", gradient: "tf.Tensor", rate: "tf.Tensor") -> None:
        """Update one parameter and its moments."""
        import tensorflow as tf

        beta1_power, beta2_power = self._powers
        tf.raw_ops.ResourceApplyAdam(
            var=parameter.value.handle,
            m=self._means[parameter.path].handle,
            v=self._squares[parameter.path].handle,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=rate,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class SGD(Optimizer):
    """Gradient descent with momentum: v <- momentum * v - rate * gradient, then theta + v."""

    def __init__(self, parameters: "Sequence[keras.Variable]", momentum: float) -> None:
        self._momentum = momentum
        self._velocities = _zeros(parameters)

    @property
    def variables(self) -> "list[tf.Variable]":
        """The velocities."""
        return list(self._velocities.values())

    def update(self, parameter: "keras.Variable", gradient: "tf.Tensor", rate: "tf.Tensor") -> None:
        """Update one parameter and its velocity."""
        import tensorflow as tf

        tf.raw_ops.ResourceApplyKerasMomentum(
            var=parameter.value.handle,
            accum=self._velocities[parameter.path].handle,
            lr=rate,
            grad=gradient,
            momentum=self._momentum,
        )


def _zeros(parameters: "Sequence[keras.Variable]") -> "dict[str, tf.Variable]":
    import tensorflow as tf

    return {
        parameter.path: tf.Variable(tf.zeros(parameter.shape, parameter.dtype), trainable=False)
        for parameter in parameters
    }
