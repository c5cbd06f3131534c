"""Batches side by side on a CPU: one thread each, instead of all threads on every operation of one batch.

The operations of a small model are short. Threads that share each of them wait for each other after every one, most
of all where another process takes a core away; threads with a batch of their own wait once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import repeat
from math import inf
from typing import TypeVar

import torch

from luthier.models.policy import Policy

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    work: Callable[[Item], Result], items: Sequence[Item], lanes: int, sizes: Sequence[int] = (), room: float = inf
) -> Iterator[Result]:
    """`work(item)` for each item, in order, `lanes` at a time; the lanes divide this thread's cores among them.

    A lane that is done goes on with the next item while an earlier one is still under way, but never more than one
    ahead, so that few results wait. A single item runs in this thread, on all its cores. Gradient mode is each
    thread's own: `work` must switch it off itself where it does not want gradients.

    Items whose `sizes` add up to more than `room` do not run at the same time; one that has no room beside any other
    runs in this thread.
    """
    if lanes == 1 or len(items) == 1:
        yield from map(work, items)
        return
    pool = _pool(lanes, max(1, torch.get_num_threads() // lanes))
    under_way: deque[tuple[Future[Result], int]] = deque()
    smallest = min(sizes, default=0)
    for item, size in zip(items, sizes or repeat(0, len(items)), strict=True):
        alone = size + smallest > room
        while under_way and (alone or len(under_way) > lanes or _running(under_way) + size > room):
            yield under_way.popleft()[0].result()
        if alone:
            yield work(item)
        else:
            under_way.append((pool.submit(work, item), size))
    while under_way:
        yield under_way.popleft()[0].result()


def _running(under_way: Iterable[tuple[Future[Result], int]]) -> int:
    return sum(size for future, size in under_way if not future.done())


def lanes_for(policy: Policy) -> int:
    """As many as this thread has cores; one on a GPU, and where a forward pass takes all processes."""
    return torch.get_num_threads() if policy.device.type == "cpu" and not policy.together else 1


@lru_cache(maxsize=4)
def _pool(lanes: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(lanes, "lane", initializer=torch.set_num_threads, initargs=(threads,))
