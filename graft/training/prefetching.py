"""Prefetching: what comes next is made while what is there is used."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetched(items: Iterator[T]) -> Iterator[T]:
    """Yield the items, each made in a thread of its own while the one before is used.

    They are made one after the other, in their order. What making one raises is raised where it
    would be yielded.
    """
    end = object()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetching") as maker:
        coming = maker.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = maker.submit(next, items, end)
            yield item  # type: ignore[misc]
