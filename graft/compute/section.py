"""What a study computes on, with how many threads, and in which precision its networks train."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from graft.core.settings import Settings

if TYPE_CHECKING:
    import keras

Device = Literal["auto", "cpu", "gpu"]
Precision = Literal["float32", "bfloat16"]
Threads = Annotated[int, Field(ge=1, le=1024)] | Literal["auto"]

_CPU_FLAGS = Path("/proc/cpuinfo")
# The first GPUs that multiply in bfloat16 (NVIDIA's Ampere).
_GPU_CAPABILITY = (8, 0)


class ComputeSection(Settings):
    """On what, and how exactly, networks train.

    Attributes
    ----------
    precision
        ``float32``: everything; ``bfloat16``: the body's layers compute in bfloat16, while
        weights, head, loss, penalty, optimizer and every prediction stay in float32; ``auto``:
        bfloat16 where the machine has instructions for it, else float32, so that the results
        depend on the machine.
    device
        ``auto``: a GPU where TensorFlow sees one, else the CPU. Results are the same, byte for
        byte, on the same kind of device alone.
    threads
        Among how many threads an operation is divided, which decides the last bits of sums. A
        number: the same bytes on any number of cores, fewer than that included; ``auto``: as many
        as there are cores.
    """

    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    device: Device = "auto"
    threads: Threads = "auto"

    def chosen(self) -> dict[str, str | int]:
        """Return what is in use, for the record; TensorFlow has started."""
        return {
            "precision": precision_here(self.precision),
            "device": device_here(),
            "threads": threads_here(self.threads),
        }


def device_here() -> Literal["cpu", "gpu"]:
    """Return the kind of device that TensorFlow computes on."""
    import tensorflow as tf

    return "gpu" if tf.config.get_visible_devices("GPU") else "cpu"


def threads_here(asked: Threads) -> int:
    """Return the number of threads to use, which for ``auto`` is that of the cores."""
    return len(os.sched_getaffinity(0)) if asked == "auto" else asked


def precision_here(asked: Literal["float32", "bfloat16", "auto"]) -> Precision:
    """Return the precision to train in, which for ``auto`` is the device's own."""
    if asked != "auto":
        return asked
    return "bfloat16" if _has_bfloat16() else "float32"


@contextmanager
def computing_in(precision: Precision, layers: "Iterable[keras.layers.Layer]") -> Iterator[None]:
    """Let `layers` compute in `precision` where they are traced inside the block.

    Their weights stay in float32, and so does what they do when they are traced or called
    outside of it: a model that is saved knows nothing of this.
    """
    import keras

    policies = [(layer, layer.dtype_policy) for layer in layers]
    try:
        if precision == "bfloat16":
            for layer, _ in policies:
                layer.dtype_policy = keras.DTypePolicy("mixed_bfloat16")
        yield
    finally:
        for layer, policy in policies:
            layer.dtype_policy = policy


def _has_bfloat16() -> bool:
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        return all(d.get("compute_capability", (0, 0)) >= _GPU_CAPABILITY for d in details)
    try:
        known = _CPU_FLAGS.read_text(encoding="ascii", errors="replace").split()
    except OSError:  # another system than Linux
        return False
    return "avx512_bf16" in known or "amx_bf16" in known
