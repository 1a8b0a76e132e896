"""DELTA: the feature maps stay where they were, above all the channels that matter.

Li et al. (2019), "DELTA: Deep Learning Transfer using Feature Map with Attention for
Convolutional Networks".
"""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from graft.core.errors import GraftError
from graft.core.network import HEAD, Network, block_of
from graft.fitting.head import solve_head
from graft.penalties.base import Arrays, Batch, Evidence, Penalty, evenly_spaced

if TYPE_CHECKING:
    import tensorflow as tf

_SHARPNESS = 5.0
_HEAD_C = 1.0


class Delta(Penalty):
    """strength / 2 * sum_j C_j / (H_j W_j) * mean_n sum_c a_jc ||FM_jc(x_n) - FM0_jc(x_n)||^2.

    j runs over the convolutions, C_j, H_j and W_j are the size of their maps, FM0 the maps at
    theta_0 in inference mode. The attention a_j is softmax(z / 5), z the standardised rise of
    the loss when one filter is zeroed: of the cross-entropy on at most `examples` of the
    labelled examples, at theta_0 with the probe's head (C = 1).

    Parameters are not counted, and the batch is averaged over (the paper sums, so that its
    strength depends on the batch size). Where BatchNorm adapts, it is not zero at theta_0.

    Attributes
    ----------
    layers
        ``last``: the last convolution of each block, as the authors take one per stage;
        ``all``: every one.
    """

    measures: ClassVar[Literal["nothing", "source", "cell"]] = "cell"
    name: Literal["delta"] = "delta"
    layers: Literal["last", "all"] = "last"
    examples: int = Field(default=128, ge=1)

    def watched(self, network: Network) -> tuple[str, ...]:
        """Return the names of the convolutions whose maps are compared."""
        names = [layer.name for layer in network.convolutions]
        if not names:
            raise GraftError(
                "penalty 'delta' compares the maps of convolutions, and this network has none; "
                "take a network that has some, or another penalty"
            )
        if self.layers == "last":
            names = list({block_of(name): name for name in names}.values())
        return tuple(names)

    def measure(self, evidence: Evidence) -> Arrays:
        """Return the attention of each layer's channels, (C_j,), by the layer's name."""
        rises = loss_rises(
            evidence.theta_0,
            self.watched(evidence.theta_0),
            evidence.inputs,
            evidence.labels,
            self.examples,
        )
        return {name: attention(rise) for name, rise in rises.items()}

    def __call__(self, target: Network, source: Network, batch: Batch) -> "tf.Tensor":
        """Return the weighted mean distance of the maps."""
        import tensorflow as tf

        names = self.watched(target)
        _, _, *before = source.watched(names)(batch.inputs, training=False)
        terms = []
        for name, there in zip(names, before, strict=True):
            here = batch.maps[name]
            _, height, width, channels = here.shape
            squares = tf.reduce_sum((here - tf.stop_gradient(there)) ** 2, axis=(1, 2))
            weighted = tf.reduce_sum(batch.measured[name] * squares, axis=1)
            terms.append(channels / (height * width) * tf.reduce_mean(weighted))
        return self.strength / 2 * tf.add_n(terms)


def attention(rises: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return softmax(z / 5) of the standardised rises; even where they are all the same."""
    spread = float(np.std(rises))
    z = (rises - np.mean(rises)) / spread if spread else np.zeros_like(rises)
    weights = np.exp((z - z.max()) / _SHARPNESS)
    return np.asarray(weights / weights.sum(), np.float32)


def loss_rises(
    network: Network,
    layers: tuple[str, ...],
    inputs: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    examples: int,
) -> dict[str, npt.NDArray[np.float64]]:
    """Return by how much the probe's loss rises when each filter of `layers` is zeroed.

    `network` changes on the way and ends as it was, to the bit.
    """
    before = network.weights()
    kernel, bias = solve_head(network.features(inputs), labels, network.num_classes, _HEAD_C)
    rows = evenly_spaced(len(labels), examples)
    inputs, labels = inputs[rows], labels[rows]

    def loss() -> float:
        likelihood = network.probabilities(inputs)[np.arange(len(labels)), labels]
        return float(-np.mean(np.log(np.maximum(likelihood, 1e-30, dtype=np.float64))))

    try:
        network.assign({f"{HEAD}/kernel": kernel, f"{HEAD}/bias": bias})
        base = loss()
        rises = {}
        for name in layers:
            own = {path: before[path] for path in before if path.startswith(f"{name}/")}
            rises[name] = np.empty(before[f"{name}/kernel"].shape[-1])
            for channel in range(len(rises[name])):
                network.assign({path: _zeroed(value, channel) for path, value in own.items()})
                rises[name][channel] = loss() - base
            network.assign(own)
    finally:
        network.assign(before)
    return rises


def _zeroed(value: npt.NDArray[Any], channel: int) -> npt.NDArray[Any]:
    """Return a filter's kernel or bias, the output channel last, without that channel."""
    copy = value.copy()
    copy[..., channel] = 0
    return copy
