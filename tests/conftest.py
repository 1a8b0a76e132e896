"""What tests share: TensorFlow started as the stages start it, and a task of 24 tiny images."""

import math
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from graft.compute.runtime import start_tensorflow
from graft.core.labels import label_ranks
from graft.finetuning.finetuner import Labelled
from graft.training import checkpoints

# TensorFlow reads these on import: one thread a worker, so that workers do not stand in each
# other's way.
for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
_GIVEN = frozenset(os.environ)

# The gate draws the same examples each time. `pytest tests/hostile --hypothesis-profile=campaign`
# draws others, and ten times as many.
_drawn = settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("gate", _drawn, max_examples=100, derandomize=True)
settings.register_profile("campaign", _drawn, max_examples=1000)
settings.load_profile("gate")


@pytest.fixture(scope="session")
def tensorflow():
    """TensorFlow, started once per process."""
    start_tensorflow()
    import tensorflow

    return tensorflow


@pytest.fixture(scope="session")
def images():
    """24 grey images of 8x8 pixels, uint8."""
    return np.random.default_rng(7).integers(0, 256, (24, 8, 8, 1), np.uint8)


@pytest.fixture(scope="session")
def labels():
    """Eight labels of each of three classes, int32, for `images`."""
    return (np.arange(24) % 3).astype(np.int32)


@pytest.fixture(scope="session")
def task(images, labels):
    """`images` and `labels` as the target's labelled examples, in two repeats."""
    return Labelled(images, labels, label_ranks(labels, repeats=2, seed=0))


@pytest.fixture
def small_network(tensorflow):
    """A plain convolutional network for `images`: nothing in it is random but its weights."""
    from graft.networks.small_cnn import SmallCNN

    return SmallCNN(width=2).build((8, 8, 1), 3, seed=1)


@pytest.fixture
def norm_network(tensorflow):
    """A network with BatchNorm for `images`."""
    from graft.networks.resnet import ResNet

    return ResNet(width=2, image_size=8, channels=1).build((8, 8, 1), 3, seed=1)


@pytest.fixture
def linear_network(tensorflow):
    """Softmax regression on the 16 pixels of 4x4 images: simple enough to redo in NumPy."""
    import keras

    from graft.networks.base import Architecture

    class Linear(Architecture):
        name: str = "linear"
        image_size: int = 4
        channels: int = 1

        def body(self, inputs):
            return keras.layers.Flatten(name="block1_flatten")(inputs)

    return Linear().build((4, 4, 1), 3, seed=1)


@pytest.fixture(scope="session")
def two_blocks(tensorflow):
    """The architecture with a bit of everything that trains in the least time.

    One block is a convolution with BatchNorm, the other a dense layer.
    """
    from keras import layers

    from graft.networks.base import Architecture

    class TwoBlocks(Architecture):
        body_blocks = ("block1", "block2")
        name: str = "two_blocks"
        image_size: int = 4
        channels: int = 1

        def body(self, inputs):
            x = layers.Conv2D(2, 3, name="block1_conv")(inputs)
            x = layers.BatchNormalization(momentum=0.9, name="block1_bn")(x)
            x = layers.Flatten(name="block1_flatten")(x)
            return layers.Dense(3, activation="tanh", name="block2_dense")(x)

    return TwoBlocks()


@pytest.fixture
def two_block_network(two_blocks):
    """A network of `two_blocks` for `images`."""
    return two_blocks.build((8, 8, 1), 3, seed=1)


@pytest.fixture
def always_saved(tmp_path, monkeypatch):
    """A checkpoint to which a training saves its state as often as it can."""
    monkeypatch.setattr(checkpoints, "_SECONDS", 0)
    monkeypatch.setattr(checkpoints, "_SHARE", math.inf)
    return checkpoints.Checkpoint(tmp_path / "checkpoint")


@pytest.fixture(autouse=True)
def _take_back_what_mlflow_exports():
    """MLflow writes the store it is told of into the environment, for processes to follow."""
    yield
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        if name not in _GIVEN:
            del os.environ[name]


@pytest.fixture
def no_tracking_settings(monkeypatch):
    """Forget what the environment says of DVC and MLflow."""
    for name in (
        "DVC_ROOT",
        "DVC_STAGE",
        "DVC_EXP_NAME",
        "DVC_EXP_BASELINE_REV",
        "MLFLOW_TRACKING_URI",
        "MLFLOW_EXPERIMENT_NAME",
        "MLFLOW_RUN_ID",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def new_store(tmp_path_factory):
    """Return a database that MLflow has made: making one takes a second."""
    from graft.core.tracking.spool import Spool
    from graft.recording.store import Store

    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        Store(Spool.here())
    return (folder / "mlflow.db").read_bytes()


@pytest.fixture
def root(tmp_path, monkeypatch, no_tracking_settings, new_store):
    """Return a working directory with a store in it."""
    (tmp_path / "mlflow.db").write_bytes(new_store)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def in_process(monkeypatch):
    """Deliver runs at their end in this process, which has MLflow loaded already."""
    from graft.core.tracking import stage_run
    from graft.recording.__main__ import deliver_once

    monkeypatch.setattr(stage_run, "_start_recorder", lambda spool: None)
    monkeypatch.setattr(stage_run, "_wait", lambda spool, *_: deliver_once(spool))
