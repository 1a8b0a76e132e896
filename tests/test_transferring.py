import hashlib

import numpy as np
import pytest

from graft.core.errors import GraftError
from graft.networks.small_cnn import SmallCNN
from graft.transferring import counts, source_probabilities, transfer_weights

SOURCE_CLASSES = ("ant", "bee", "cow")
BODY = [f"block{b}_conv{n}/{p}" for b in (1, 2) for n in (1, 2) for p in ("kernel", "bias")]
BODY += ["block3_dense/kernel", "block3_dense/bias"]
HEAD = ["head/kernel", "head/bias"]


@pytest.fixture
def source(small_network):
    """Return a network of three classes whose head is not at its start."""
    kernel = np.arange(24, dtype=np.float32).reshape(8, 3)
    small_network.assign({"head/kernel": kernel, "head/bias": np.array([1, 2, 3], np.float32)})
    return small_network


def target_of(classes, width=2, **options):
    network = SmallCNN(width=width, **options).build((9, 5, 3), len(classes), seed=9)
    network.assign({"head/bias": np.ones(len(classes), np.float32)})
    return network


def transfer(source, target, classes, head="auto", source_classes=SOURCE_CLASSES):
    return transfer_weights(
        source, target, source_classes=source_classes, target_classes=classes, head=head
    )


def fates(receipt):
    return {path: row["fate"] for path, row in receipt.items()}


def test_the_body_is_copied_and_a_head_of_other_classes_starts_at_zero(source):
    target = target_of(("ant", "dog"))
    receipt = transfer(source, target, ("ant", "dog"))
    old, new = source.weights(), target.weights()
    for path in BODY:
        assert new[path].tobytes() == old[path].tobytes(), path
    assert not np.any(new["head/kernel"])
    assert not np.any(new["head/bias"])
    assert fates(receipt) == {
        **dict.fromkeys(BODY, "copied"),
        **dict.fromkeys(HEAD, "reinitialised"),
    }
    assert counts(receipt) == {"copied": 10, "reinitialised": 2, "skipped": 0}


def test_a_head_of_known_classes_is_copied_by_name(source):
    classes = ("cow", "ant")
    target = target_of(classes)
    receipt = transfer(source, target, classes)
    weights = target.weights()
    assert weights["head/kernel"].tolist() == [[3 * row + 2, 3 * row] for row in range(8)]
    assert weights["head/bias"].tolist() == [3, 1]
    assert set(fates(receipt).values()) == {"copied"}
    assert receipt["head/kernel"]["source_shape"] == [8, 3]
    assert receipt["head/kernel"]["target_shape"] == [8, 2]


def test_the_transferred_head_ranks_classes_as_the_source_does(source, images):
    classes = ("cow", "bee", "ant")
    target = SmallCNN(width=2).build((8, 8, 1), 3, seed=9)
    transfer(source, target, classes)
    by_source = source.probabilities(images)[:, [2, 1, 0]]
    np.testing.assert_allclose(target.probabilities(images), by_source, rtol=1e-5)


def test_transfer_asks_for_known_classes(source):
    target = target_of(("ant", "bee", "cow"))
    receipt = transfer(source, target, ("ant", "bee", "cow"), head="transfer")
    assert counts(receipt)["copied"] == 12
    with pytest.raises(GraftError) as caught:
        transfer(source, target_of(("ant", "dog", "eel")), ("ant", "dog", "eel"), head="transfer")
    assert str(caught.value) == (
        "transfer.head: transfer, but the source does not know dog, eel; it knows ant, bee, cow; "
        "use auto or new"
    )


def test_new_starts_the_head_at_zero_even_for_known_classes(source):
    target = target_of(SOURCE_CLASSES)
    receipt = transfer(source, target, SOURCE_CLASSES, head="new")
    assert not np.any(target.weights()["head/kernel"])
    assert fates(receipt)["head/kernel"] == "reinitialised"


def test_a_tensor_of_another_shape_is_reinitialised(source):
    # At 16x16 pixels the dense layer sees four times as much; the convolutions stay.
    target = target_of(("a", "b"), image_size=16)
    before = target.weights()
    receipt = transfer(source, target, ("a", "b"))
    after = target.weights()
    assert fates(receipt)["block3_dense/kernel"] == "reinitialised"
    assert receipt["block3_dense/kernel"]["source_shape"] == [16, 8]
    assert receipt["block3_dense/kernel"]["target_shape"] == [64, 8]
    assert np.array_equal(after["block3_dense/kernel"], before["block3_dense/kernel"])
    assert fates(receipt)["block3_dense/bias"] == "copied"
    assert counts(receipt) == {"copied": 9, "reinitialised": 3, "skipped": 0}


def test_moving_statistics_are_copied_and_what_the_target_lacks_is_skipped(norm_network):
    from graft.networks.resnet import ResNet

    rng = np.random.default_rng(0)
    norm_network.assign(
        {
            p: rng.uniform(1, 2, v.shape).astype(np.float32)
            for p, v in norm_network.weights().items()
        }
    )
    target = ResNet(width=2, image_size=8, channels=1).build((8, 8, 1), 2, seed=0)
    receipt = transfer(norm_network, target, ("a", "b"))
    assert target.weights()["stem_bn1/moving_variance"].tobytes() == (
        norm_network.weights()["stem_bn1/moving_variance"].tobytes()
    )
    assert counts(receipt) == {"copied": 9 + 9 * 4, "reinitialised": 2, "skipped": 0}


def test_what_the_target_lacks_is_skipped(tensorflow, source):
    import keras

    from graft.core.network import Network

    raw = keras.Input((8, 8, 1), dtype="uint8", name="raw")
    x = keras.layers.Rescaling(1 / 255, name="adapter_scale")(raw)
    x = keras.layers.Conv2D(2, 3, name="block1_conv1")(x)
    x = keras.layers.GlobalAveragePooling2D(name="block1_pool")(x)
    features = keras.layers.Identity(name="features")(x)
    logits = keras.layers.Dense(2, name="head")(features)
    target = Network(keras.Model(raw, keras.layers.Softmax(name="probabilities")(logits)))
    receipt = transfer(source, target, ("a", "b"))
    assert fates(receipt) == {
        "block1_conv1/kernel": "copied",
        "block1_conv1/bias": "copied",
        **dict.fromkeys(HEAD, "reinitialised"),
        **dict.fromkeys(BODY[2:], "skipped"),
    }
    assert receipt["block3_dense/bias"] == {
        "fate": "skipped",
        "source_shape": [8],
        "target_shape": None,
        "sha256": None,
    }


def test_the_receipt_has_the_sha_256_of_what_the_target_starts_with(source):
    target = target_of(("ant", "dog"))
    receipt = transfer(source, target, ("ant", "dog"))
    assert receipt.keys() == target.weights().keys()
    for path, value in target.weights().items():
        assert receipt[path]["sha256"] == hashlib.sha256(value.tobytes()).hexdigest()
        assert receipt[path]["target_shape"] == list(value.shape)


def test_the_source_stays_as_it_is(source):
    before = source.weights()
    transfer(source, target_of(("ant", "dog")), ("ant", "dog"))
    assert all(
        value.tobytes() == before[path].tobytes() for path, value in source.weights().items()
    )


def test_networks_that_share_no_tensor_are_refused(source):
    target = target_of(("ant", "dog"), width=3)
    before = target.weights()
    with pytest.raises(GraftError) as caught:
        transfer(source, target, ("ant", "dog"))
    message = str(caught.value)
    assert message.startswith(
        "source and target networks share no tensor: received block1_conv1/kernel [3, 3, 1, 2], "
    )
    assert "expected some of block1_conv1/kernel [3, 3, 1, 3], " in message
    assert all(
        value.tobytes() == before[path].tobytes() for path, value in target.weights().items()
    )


def test_the_sources_head_speaks_of_the_targets_images_through_the_copied_body(source):
    target = SmallCNN(width=2).build((8, 8, 1), 2, seed=9)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    receipt = transfer(source, target, ("dog", "elk"))
    given = source_probabilities(source, receipt, target.features(images))
    assert given.shape == (5, 3)
    np.testing.assert_allclose(given, source.probabilities(images), rtol=1e-4, atol=1e-7)


def test_probabilities_of_large_logits_are_no_nan(source):
    receipt = transfer(source, target_of(("ant", "dog")), ("ant", "dog"))
    given = source_probabilities(source, receipt, np.full((2, 8), 1e4, np.float32))
    np.testing.assert_allclose(given.sum(axis=1), 1)


def test_a_source_without_a_head_says_nothing_of_the_targets_images(source):
    receipt = transfer(source, target_of(("ant", "dog")), ("ant", "dog"))
    for path in HEAD:
        source.tensors.pop(path)
    assert source_probabilities(source, receipt, np.ones((2, 8), np.float32)) is None


def test_a_body_that_was_not_copied_whole_says_nothing_either(source):
    receipt = transfer(source, target_of(("ant", "dog")), ("ant", "dog"))
    receipt[BODY[0]]["fate"] = "reinitialised"
    assert source_probabilities(source, receipt, np.ones((2, 8), np.float32)) is None
