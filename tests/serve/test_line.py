"""The line before an engine: its length, its order, and what it says of the wait."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine

import pytest

from luthier.serve.line import Line
from luthier.serve.refusals import Busy


class Imagined(selectors.DefaultSelector):
    """Waits by moving the clock: what is due comes at its time, however busy the machine is."""

    now = 0.0

    def select(self, timeout: float | None = None):  # type: ignore[no-untyped-def]
        self.now += timeout or 0.0
        return super().select(0)


def run(main: Coroutine[None, None, None]) -> None:
    clock = Imagined()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main)


async def hold(line: Line, seconds: float, done: list[int], number: int) -> None:
    async with line.place():
        await asyncio.sleep(seconds)
        done.append(number)


def test_as_many_as_there_are_places_are_served_at_once_in_order() -> None:
    async def story() -> None:
        line, done = Line(places=2, waiting=3), []
        tasks = [asyncio.create_task(hold(line, 0.01, done, number)) for number in range(5)]
        await asyncio.sleep(0)
        assert (line.served, line.waiting, line.idle) == (2, 3, False)
        await asyncio.gather(*tasks)
        assert done == [0, 1, 2, 3, 4]
        assert line.idle

    run(story())


def test_a_full_line_refuses_with_the_measured_wait() -> None:
    async def story() -> None:
        line, done = Line(places=1, waiting=1), []
        for _ in range(120):  # the mean comes to what service really takes
            await hold(line, 0.002, done, 0)
        assert line.mean_seconds == pytest.approx(0.002, rel=0.1)
        assert line.wait_seconds() == 0
        tasks = [asyncio.create_task(hold(line, 0.05, done, number)) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="1 requests wait") as refused:
            await hold(line, 0, done, 9)
        assert refused.value.retry_after_seconds == pytest.approx(2 * line.mean_seconds)
        assert int(refused.value.headers["retry-after-ms"]) >= 1
        assert refused.value.headers["retry-after"] == "1"  # whole seconds, never none
        await asyncio.gather(*tasks)

    run(story())


def test_who_leaves_makes_room() -> None:
    async def story() -> None:
        line, done = Line(places=1, waiting=1), []
        served = asyncio.create_task(hold(line, 0.03, done, 0))
        leaves = asyncio.create_task(hold(line, 0, done, 1))
        await asyncio.sleep(0.001)
        leaves.cancel()
        await asyncio.sleep(0)
        await hold(line, 0, done, 2)
        await served
        assert done == [0, 2]
        served_ill = asyncio.create_task(hold(line, 5, done, 3))
        await asyncio.sleep(0.001)
        served_ill.cancel()
        await asyncio.wait({served_ill})
        assert line.idle

    run(story())


def test_who_comes_back_when_told_to_is_served_before_those_who_never_left() -> None:
    """Twice as many as there are places, each asking again at once."""

    async def client(line: Line, end: float, tries: list[int]) -> None:
        number = 1
        while asyncio.get_running_loop().time() < end or number > 1:
            try:
                async with line.place():
                    await asyncio.sleep(0.03)
                tries.append(number)
                number = 1
            except Busy as refused:
                number += 1
                await asyncio.sleep(refused.retry_after_seconds)

    async def story() -> None:
        line, tries = Line(places=4, waiting=0), [[] for _ in range(8)]
        line.mean_seconds = 0.03
        await asyncio.gather(*(client(line, asyncio.get_running_loop().time() + 0.7, own) for own in tries))
        found = [number for own in tries for number in own]
        assert max(found) <= 8
        assert sum(number <= 2 for number in found) > 0.7 * len(found)
        assert min(map(len, tries)) > max(map(len, tries)) / 4
        assert len(found) > 0.6 * 4 * 0.7 / 0.03  # places are not kept empty for long

    run(story())


def test_who_comes_late_has_no_time_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        line, done = Line(places=1, waiting=0), []
        line.mean_seconds = 0.01
        monkeypatch.setattr("luthier.serve.line.PATIENCE_SECONDS", 0.02)
        served = asyncio.create_task(hold(line, 0.15, done, 0))
        await asyncio.sleep(0)
        for wait in (0.015, 0.1):
            with pytest.raises(Busy):
                await hold(line, 0, done, 9)
            await asyncio.sleep(wait)
            if wait < 0.1:
                back = asyncio.create_task(hold(line, 0, done, 1))  # in time: stands in line
                await asyncio.sleep(0)
                assert line.waiting == 1
        with pytest.raises(Busy):
            await hold(line, 0, done, 9)
        await asyncio.gather(served, back)
        assert done == [0, 1]

    run(story())


def test_the_told_time_has_an_end() -> None:
    async def story() -> None:
        line, done = Line(places=1, waiting=0), []
        line.mean_seconds = 25.0
        served = asyncio.create_task(hold(line, 0.01, done, 0))
        await asyncio.sleep(0)
        told = []
        for _ in range(5):
            with pytest.raises(Busy) as refused:
                await hold(line, 0, done, 9)
            told.append(refused.value.retry_after_seconds)
        assert told == pytest.approx([25, 50, 60, 60, 60], abs=0.1)
        await served

    run(story())
