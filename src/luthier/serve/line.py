"""The line before an engine: how many are answered at once, how many wait, and how long that takes.

Who finds it full is told when to come back, each at a time of their own, one behind the other. Who comes then may stand
in line though it is full: else those who ask again as soon as they are answered would take every place that is free.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from luthier.serve.refusals import Busy

SMOOTHING = 0.1
"""Weight of the newest service time in the mean."""
FIRST_GUESS_SECONDS = 1.0
LONGEST_SECONDS = 60.0
"""Nobody is told to come later; who would have to has no time of their own."""
PATIENCE_SECONDS = 2.0
"""How long after their time those who were told to come back are still expected."""


class Line:
    """At most `places` are served at once and `waiting` stand in line, in order of arrival; more are refused."""

    def __init__(self, places: int, waiting: int) -> None:
        self.places, self.most_waiting = places, waiting
        self.served = self.waiting = 0
        self.mean_seconds = FIRST_GUESS_SECONDS
        """Of service, without the wait: a moving average."""
        self._free = asyncio.Semaphore(places)
        self._expected: deque[float] = deque()
        """When those who were refused come back, in order."""

    @property
    def idle(self) -> bool:
        return not self.served and not self.waiting

    def wait_seconds(self) -> float:
        """How long one who comes now would wait, by the mean of those who came before."""
        return self._step * (self.waiting + 1) if self.served >= self.places else 0.0

    def _may_enter(self, now: float) -> bool:
        """Whether there is room, or somebody was told to come by now: who comes is taken for them."""
        while self._expected and self._expected[0] < now - PATIENCE_SECONDS:
            self._expected.popleft()
        if self.served + self.waiting < self.places + self.most_waiting:
            return True
        if self._expected and self._expected[0] <= now:
            self._expected.popleft()
            return True
        return False

    def _expect(self, now: float) -> float:
        """In how many seconds one who is refused is to come: when there is likely a place, behind all others."""
        due = now + self._step * (self.waiting + 1)
        if self._expected:
            due = max(due, self._expected[-1] + self._step)
        if due > now + LONGEST_SECONDS:
            return LONGEST_SECONDS
        self._expected.append(due)
        return due - now

    @property
    def _step(self) -> float:
        """Seconds from one place that becomes free to the next."""
        return self.mean_seconds / self.places

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and hold it. Raises Busy where the line is full."""
        clock = asyncio.get_running_loop().time
        if not self._may_enter(clock()):
            raise Busy(f"{self.waiting} requests wait for this model already", self._expect(clock()))
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.served += 1
        begun = clock()
        try:
            yield
        finally:
            self.served -= 1
            self.mean_seconds += SMOOTHING * (clock() - begun - self.mean_seconds)
            self._free.release()
