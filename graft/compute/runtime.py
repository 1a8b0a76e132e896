"""TensorFlow as every stage needs it: silent at its start and deterministic."""

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from graft.compute.section import ComputeSection, Device, Threads
from graft.core.errors import GraftError
from graft.core.imports import lean_imports


def start_tensorflow(compute: ComputeSection | None = None) -> None:
    """Import TensorFlow without its start-up notices and with deterministic operations.

    Call it before anything else imports TensorFlow: it reads these settings on import.

    Parameters
    ----------
    compute
        The device and the number of threads; by default the machine's.

    Raises
    ------
    GraftError
        When the device is ``gpu`` and there is none.
    """
    asked = compute or ComputeSection()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    gc.collect()  # of what is garbage by now, which freezing would keep
    # Keras has wrappers for scikit-learn. Without these packages TensorFlow's import takes half the
    # time and a fifth less memory.
    with _native_notices_held_back(), lean_imports("scipy", "sklearn"):
        import tensorflow as tf
    gc.freeze()  # what was imported stays, and need not be looked at again
    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_op_determinism()
    # A GPU would round the factors of float32 products to 10 bits.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    _choose(asked.device)
    _divide(asked.threads)


def _choose(device: Device) -> None:
    import tensorflow as tf

    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
        return
    gpus = tf.config.get_visible_devices("GPU")
    if device == "gpu" and not gpus:
        raise GraftError(
            "compute.device: received gpu, but TensorFlow sees no GPU here; expected auto or cpu, "
            "or a GPU with its driver and `pip install 'tensorflow[and-cuda]'`"
        )
    for gpu in gpus:
        # TensorFlow would take all of its memory, and the next process would get none.
        tf.config.experimental.set_memory_growth(gpu, True)


def _divide(threads: Threads) -> None:
    """Let operations, NumPy's products among them, be divided among so many threads."""
    import tensorflow as tf
    from threadpoolctl import threadpool_limits

    # One operation after the other: side by side they take the threads from one another, and a
    # step takes up to a tenth longer.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if threads != "auto":
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        threadpool_limits(threads, user_api="blas")


@contextmanager
def _native_notices_held_back() -> Iterator[None]:
    """Keep what native code writes to standard error, and show it only if the block fails.

    TensorFlow's libraries log before any of their own settings is read, so that only the
    file descriptor itself can be silenced.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(original, held.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
