import threading
from collections.abc import Iterator

import pytest

from graft.training.prefetching import prefetched


def test_items_come_in_their_order():
    assert list(prefetched(iter(range(5)))) == [0, 1, 2, 3, 4]
    assert list(prefetched(iter(()))) == []


def test_the_next_item_is_made_while_one_is_used_and_no_more():
    made = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    coming = prefetched(items())
    assert not made[0].is_set()
    for number in range(3):
        assert next(coming) == number
        assert made[number + 1].wait(timeout=10)
        assert not any(event.is_set() for event in made[number + 2 :])
    coming.close()


def test_all_items_are_made_by_one_other_thread():
    threads = set(prefetched(threading.current_thread() for _ in range(20)))
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_a_fault_is_raised_where_its_item_would_come():
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second is broken")

    coming = prefetched(items())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="the second is broken"):
        next(coming)


def test_whoever_stops_early_leaves_no_thread_behind():
    before = threading.active_count()
    coming = prefetched(iter(range(1000)))
    next(coming)
    coming.close()
    assert threading.active_count() == before
