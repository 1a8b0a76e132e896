import numpy as np
import pytest

from graft.datasets.handwritten_digits import HandwrittenDigits


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("empty")
    return HandwrittenDigits().load(folder, None, np.random.default_rng(0), folder)


def test_counts_are_those_of_the_uci_test_set(examples):
    assert examples.inputs.shape == (1797, 8, 8, 1)
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(examples.labels).tolist() == counts
    assert examples.class_names == tuple("0123456789")
    assert examples.is_test is None


def test_counts_of_ink_become_bytes(examples):
    # The first row of the first image is 0 0 5 13 9 1 0 0 in sixteenths.
    assert examples.inputs[0, 0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
    assert len(np.unique(examples.inputs)) == 17
    assert examples.inputs.max() == 255
