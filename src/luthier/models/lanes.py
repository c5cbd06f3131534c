"""Batches side by side on a CPU: one thread each, instead of all threads on every operation of one batch.

The operations of a small model are short. Threads that share each of them wait for each other after every one, most
of all where another process takes a core away; threads with a batch of their own wait once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item], lanes: int) -> Iterator[Result]:
    """`work(item)` for each item, in order, `lanes` at a time; the lanes divide this thread's cores among them.

    A lane that is done goes on with the next item while an earlier one is still under way, but never more than one
    ahead, so that few results wait. A single item runs in this thread, on all its cores. Gradient mode is each
    thread's own: `work` must switch it off itself where it does not want gradients.
    """
    if lanes == 1 or len(items) == 1:
        yield from map(work, items)
        return
    pool = _pool(lanes, max(1, torch.get_num_threads() // lanes))
    under_way: deque[Future[Result]] = deque()
    for item in items:
        under_way.append(pool.submit(work, item))
        if len(under_way) > lanes:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def lanes_for(device: torch.device) -> int:
    """As many as this thread has cores; one on a GPU."""
    return torch.get_num_threads() if device.type == "cpu" else 1


@lru_cache(maxsize=4)
def _pool(lanes: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(lanes, "lane", initializer=torch.set_num_threads, initargs=(threads,))
