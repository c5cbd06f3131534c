"""Answers that would come out the same again, and requests that are being answered at this moment."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

Answer = dict[str, Any]


class Cache:
    """Answers by key, the least recently used going first; of equal requests at one time, one is answered.

    Whoever asks is part of the key: what one API key was told is never told to another.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._kept: OrderedDict[str, str] = OrderedDict()
        self._now: dict[str, _Shared] = {}

    async def get(self, key: str | None, make: Callable[[], Awaitable[Answer]]) -> tuple[Answer, bool]:
        """(the answer, whether it was made for an earlier or a concurrent request); always made where `key` is None."""
        if key is None:
            return await make(), False
        if key in self._kept:
            self._kept.move_to_end(key)
            return json.loads(self._kept[key]), True
        shared = self._now.get(key)
        if shared is not None:
            return json.loads(json.dumps(await shared.wait())), True
        shared = self._now[key] = _Shared(asyncio.ensure_future(make()))
        shared.task.add_done_callback(lambda task: self._finish(key, task))
        return await shared.wait(), False

    def _finish(self, key: str, task: asyncio.Future[Answer]) -> None:
        del self._now[key]
        if task.cancelled() or task.exception() is not None:
            return
        text = json.dumps(task.result())
        if len(text) > self.most_bytes // 8:
            return
        self._kept[key] = text
        self.bytes += len(text)
        while self.bytes > self.most_bytes:
            self.bytes -= len(self._kept.popitem(last=False)[1])


class _Shared:
    """One answer that several wait for; it is given up when none of them does any more."""

    def __init__(self, task: asyncio.Future[Answer]) -> None:
        self.task, self.waiting = task, 0

    async def wait(self) -> Answer:
        self.waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self.waiting -= 1
            if not self.waiting and not self.task.done():
                self.task.cancel()
