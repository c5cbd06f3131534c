"""The line before an engine: how many are answered at once, how many wait, and how long that takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from luthier.serve.refusals import Busy

SMOOTHING = 0.1
"""Weight of the newest service time in the mean."""
FIRST_GUESS_SECONDS = 1.0


class Line:
    """At most `places` are served at once and `waiting` stand in line, in order of arrival; more are refused."""

    def __init__(self, places: int, waiting: int) -> None:
        self.places, self.most_waiting = places, waiting
        self.served = self.waiting = 0
        self.mean_seconds = FIRST_GUESS_SECONDS
        """Of service, without the wait: a moving average."""
        self._free = asyncio.Semaphore(places)

    @property
    def idle(self) -> bool:
        return not self.served and not self.waiting

    def wait_seconds(self) -> float:
        """How long one who comes now would wait, by the mean of those who came before."""
        return self.mean_seconds * (self.waiting + 1) / self.places if self.served >= self.places else 0.0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and hold it. Raises Busy where the line is full."""
        if self.served + self.waiting >= self.places + self.most_waiting:
            raise Busy(f"{self.waiting} requests wait for this model already", self.wait_seconds())
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.served += 1
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.served -= 1
            self.mean_seconds += SMOOTHING * (time.perf_counter() - begun - self.mean_seconds)
            self._free.release()
