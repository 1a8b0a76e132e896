import dataclasses
import hashlib

import numpy as np
import pytest

from graft.core.artifacts import array_sha256, load_array, load_json
from graft.core.errors import GraftError
from graft.core.prepared import (
    Card,
    Examples,
    always_labelled,
    read_split,
    row_bytes,
    write_source,
    write_target,
)

NAMES = ("cat", "dog", "newt")


def examples(counts=(12, 8, 6), is_test=None, seed=0):
    """Return images that all differ, of so many per class, mixed."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    inputs = rng.integers(0, 256, (len(labels), 4, 5, 3), np.uint8)
    names = NAMES[: len(counts)]
    return Examples(inputs, labels, names, is_test, notes=(("skipped_files", 2),))


def write_a_target(folder, given, **changed):
    options = {
        "kind": "image",
        "labels_per_class": (1, 3),
        "repeats": 2,
        "test_fraction": 0.5,
        "seed": 0,
        **changed,
    }
    return write_target(folder, given, **options)


def write_a_source(folder, given, **changed):
    options = {
        "kind": "image",
        "validation_fraction": 0.25,
        "rng": np.random.default_rng(0),
        **changed,
    }
    return write_source(folder, given, **options)


def keys(folder):
    return row_bytes(read_split(folder).inputs)


def test_the_target_is_cut_into_test_and_what_budgets_label(tmp_path):
    given = examples()
    card = write_a_target(tmp_path, given)
    train, test = keys(tmp_path / "train"), keys(tmp_path / "test")
    assert card["examples_per_class"]["test"] == {"cat": 6, "dog": 4, "newt": 3}
    assert set(train).isdisjoint(test)
    assert set(train) | set(test) <= set(row_bytes(given.inputs))
    ranks = load_array(tmp_path / "train" / "label_ranks.npy")
    assert ranks.shape == (2, len(train))
    labels = read_split(tmp_path / "train").labels
    for row in ranks:
        for budget in (1, 3):
            assert np.bincount(labels[row < budget]).tolist() == [budget] * 3
    # Every example of `train` is labelled by some budget of some repeat.
    assert np.all(np.any(ranks < 3, axis=0))
    assert card["notes"] == {"skipped_files": 2, "available_for_training": 13}


def test_labels_stay_with_their_images(tmp_path):
    given = examples()
    write_a_target(tmp_path, given)
    label_of = dict(zip(row_bytes(given.inputs), given.labels, strict=True))
    for part in ("train", "test"):
        split = read_split(tmp_path / part)
        assert [label_of[key] for key in row_bytes(split.inputs)] == split.labels.tolist()


def test_all_labels_the_whole_rest(tmp_path):
    card = write_a_target(tmp_path, examples(), labels_per_class=(1, "all"))
    assert card["examples"] == {"train": 13, "test": 13}
    assert load_array(tmp_path / "train" / "label_ranks.npy").shape == (2, 13)
    numbers = Card.read(tmp_path).numeric_budgets()
    assert numbers == {1: 1.0, "all": pytest.approx(13 / 3)}


def test_a_larger_budget_leaves_the_labels_of_the_smaller_one(tmp_path):
    chosen = {}
    for largest in (3, "all"):
        write_a_target(tmp_path / str(largest), examples(), labels_per_class=(1, largest))
        ranks = load_array(tmp_path / str(largest) / "train" / "label_ranks.npy")
        inputs = read_split(tmp_path / str(largest) / "train").inputs
        chosen[largest] = [set(row_bytes(inputs[row < 1])) for row in ranks]
    assert chosen[3] == chosen["all"]


def test_the_data_sets_own_test_split_is_kept(tmp_path):
    is_test = np.arange(26) % 4 == 0
    given = examples(is_test=is_test)
    write_a_target(tmp_path, given, labels_per_class=(1,))
    assert keys(tmp_path / "test") == row_bytes(given.inputs[is_test])
    assert set(keys(tmp_path / "train")) <= set(row_bytes(given.inputs[~is_test]))


def test_a_source_is_cut_into_train_and_validation(tmp_path):
    given = examples()
    card = write_a_source(tmp_path, given)
    train, validation = keys(tmp_path / "train"), keys(tmp_path / "validation")
    assert card["examples_per_class"] == {
        "train": {"cat": 9, "dog": 6, "newt": 4},
        "validation": {"cat": 3, "dog": 2, "newt": 2},
    }
    assert set(train).isdisjoint(validation)
    assert set(train) | set(validation) == set(row_bytes(given.inputs))


def test_a_source_leaves_its_own_test_split_alone(tmp_path):
    is_test = np.arange(26) % 4 == 0
    given = examples(is_test=is_test)
    write_a_source(tmp_path, given)
    used = {*keys(tmp_path / "train"), *keys(tmp_path / "validation")}
    assert used == set(row_bytes(given.inputs[~is_test]))


def test_a_source_loses_what_the_target_is_tested_on(tmp_path):
    given = examples()
    write_a_target(tmp_path / "target", given)
    tested = frozenset(keys(tmp_path / "target" / "test"))
    card = write_a_source(tmp_path / "source", given, exclude=tested)
    used = {*keys(tmp_path / "source" / "train"), *keys(tmp_path / "source" / "validation")}
    assert used == set(row_bytes(given.inputs)) - tested
    assert card["notes"] == {
        "skipped_files": 2,
        "shared_with_target_test": 13,
        "train_shared_with_target": 0,
    }


def test_a_source_that_is_the_target_trains_on_the_same_examples(tmp_path):
    given = examples((12, 12, 12))
    order = np.argsort(given.labels, kind="stable").reshape(3, 12)
    is_test = np.isin(np.arange(36), order[:, :2])
    given = dataclasses.replace(given, is_test=is_test)
    # Of 10 images a class the target labels 8; the source holds the other 2 out.
    write_a_target(tmp_path / "target", given, labels_per_class=(1, 8), repeats=1)
    card = write_a_source(
        tmp_path / "source",
        given,
        validation_fraction=0.2,
        labelled_by_target=always_labelled(tmp_path / "target"),
    )
    assert set(keys(tmp_path / "source" / "train")) == set(keys(tmp_path / "target" / "train"))
    assert card["examples"] == {"train": 24, "validation": 6}
    assert card["notes"]["train_shared_with_target"] == 24


def test_what_one_repeat_leaves_out_is_not_always_labelled(tmp_path):
    write_a_target(tmp_path, examples(), labels_per_class=(1, 3), repeats=2)
    train = read_split(tmp_path / "train")
    ranks = load_array(tmp_path / "train" / "label_ranks.npy")
    both = np.all(ranks < 3, axis=0)
    assert 0 < both.sum() < len(both)
    names = [NAMES[label] for label in train.labels[both]]
    wanted = set(zip(row_bytes(train.inputs[both]), names, strict=True))
    assert always_labelled(tmp_path) == wanted


def test_the_same_image_under_another_name_is_not_shared(tmp_path):
    given = examples()
    write_a_target(tmp_path / "target", given, repeats=1)
    renamed = dataclasses.replace(given, class_names=("cow", "pig", "hen"))
    labelled = always_labelled(tmp_path / "target")
    card = write_a_source(tmp_path / "source", renamed, labelled_by_target=labelled)
    assert card["notes"]["train_shared_with_target"] == 0


def test_images_of_equal_bytes_and_other_shapes_are_not_equal():
    flat = np.arange(12, dtype=np.uint8)
    wide, tall = flat.reshape(1, 2, 6, 1), flat.reshape(1, 6, 2, 1)
    assert row_bytes(wide) != row_bytes(tall)
    assert row_bytes(wide) == row_bytes(wide.copy())


def test_the_card_says_what_the_task_is(tmp_path):
    card = write_a_target(tmp_path, examples())
    assert load_json(tmp_path / "card.json") == card
    assert list(card) == [
        "kind",
        "class_names",
        "input_shape",
        "labels_per_class",
        "repeats",
        "examples",
        "examples_per_class",
        "notes",
        "arrays",
    ]
    assert (card["kind"], card["class_names"]) == ("image", list(NAMES))
    assert (card["input_shape"], card["labels_per_class"], card["repeats"]) == (
        [4, 5, 3],
        [1, 3],
        2,
    )
    read = Card.read(tmp_path)
    assert (read.kind, read.class_names, read.input_shape) == ("image", NAMES, (4, 5, 3))
    assert (read.labels_per_class, read.repeats) == ((1, 3), 2)
    assert read.numeric_budgets() == {1: 1.0, 3: 3.0}


def test_the_card_of_a_source_has_no_budgets(tmp_path):
    card = write_a_source(tmp_path, examples())
    assert "labels_per_class" not in card
    assert (Card.read(tmp_path).labels_per_class, Card.read(tmp_path).repeats) == ((), 0)


def test_the_card_has_the_sha_256_of_every_array(tmp_path):
    card = write_a_target(tmp_path, examples())
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.npy"))
    assert sorted(card["arrays"]) == files
    for name, line in card["arrays"].items():
        array = np.load(tmp_path / name)
        assert line["shape"] == list(array.shape)
        assert line["dtype"] == array.dtype.name
        assert line["sha256"] == hashlib.sha256(array.tobytes()).hexdigest()
        assert line["sha256"] == array_sha256(array)
    assert {line["dtype"] for line in card["arrays"].values()} == {"uint8", "int32"}


def test_the_same_task_is_written_to_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        write_a_target(tmp_path / name, examples())
    for path in (tmp_path / "one").rglob("*.*"):
        other = tmp_path / "other" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()


def test_another_seed_gives_another_test_split(tmp_path):
    for seed in (0, 1):
        write_a_target(tmp_path / str(seed), examples(), seed=seed)
    assert set(keys(tmp_path / "0" / "test")) != set(keys(tmp_path / "1" / "test"))


def test_one_class_is_no_task(tmp_path):
    with pytest.raises(GraftError, match="received one class, 'cat'; a task needs at least 2"):
        write_a_target(tmp_path, examples((12,)))
    with pytest.raises(GraftError, match="received one class, 'cat'; a task needs at least 2"):
        write_a_source(tmp_path, examples((12,)))


def test_too_few_examples_for_the_largest_budget_are_named(tmp_path):
    with pytest.raises(GraftError) as caught:
        write_a_target(tmp_path, examples((12, 8, 3)))
    assert str(caught.value) == (
        "class 'newt' has 3 usable examples; expected at least 4 (3 for the largest budget and "
        "one to test on); add examples, leave the class out, or lower labels_per_class"
    )


def test_just_enough_examples_are_enough(tmp_path):
    card = write_a_target(tmp_path, examples((12, 8, 4)), test_fraction=0.9)
    assert card["examples_per_class"]["test"]["newt"] == 1
    assert card["examples_per_class"]["train"]["newt"] == 3


def test_a_class_missing_from_the_data_sets_own_test_split_is_named(tmp_path):
    given = examples()
    is_test = (np.arange(26) % 3 == 0) & (given.labels != 1)
    with pytest.raises(GraftError, match=r"class 'dog' has 0 usable examples.*\(testing\)"):
        write_a_target(tmp_path, examples(is_test=is_test))


def test_a_class_too_small_in_the_data_sets_own_training_split_is_named(tmp_path):
    given = examples()
    is_test = (np.arange(26) % 3 == 0) | (given.labels == 2)
    with pytest.raises(GraftError, match=r"class 'newt' has 0 usable examples.*\(training,"):
        write_a_target(tmp_path, examples(is_test=is_test))


def test_a_source_class_that_the_target_is_tested_on_whole_is_named(tmp_path):
    given = examples()
    newts = frozenset(row_bytes(given.inputs[given.labels == 2]))
    with pytest.raises(GraftError) as caught:
        write_a_source(tmp_path, given, exclude=newts)
    assert str(caught.value).startswith(
        "class 'newt' has 0 usable examples; expected at least 2 (one to train on and one to "
        "validate on); "
    )
