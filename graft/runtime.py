"""TensorFlow as every stage needs it: silent at its start and deterministic."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def start_tensorflow() -> None:
    """Import TensorFlow without its start-up notices and with deterministic operations.

    Call it before anything else imports TensorFlow: it reads these settings on import.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _native_notices_held_back():
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_op_determinism()


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
