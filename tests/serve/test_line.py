"""The line before an engine: its length, its order, and what it says of the wait."""

from __future__ import annotations

import asyncio

import pytest

from luthier.serve.line import Line
from luthier.serve.refusals import Busy


async def hold(line: Line, seconds: float, done: list[int], number: int) -> None:
    async with line.place():
        await asyncio.sleep(seconds)
        done.append(number)


def test_as_many_as_there_are_places_are_served_at_once_in_order() -> None:
    async def run() -> None:
        line, done = Line(places=2, waiting=3), []
        tasks = [asyncio.create_task(hold(line, 0.01, done, number)) for number in range(5)]
        await asyncio.sleep(0)
        assert (line.served, line.waiting, line.idle) == (2, 3, False)
        await asyncio.gather(*tasks)
        assert done == [0, 1, 2, 3, 4]
        assert line.idle

    asyncio.run(run())


def test_a_full_line_refuses_with_the_measured_wait() -> None:
    async def run() -> None:
        line, done = Line(places=1, waiting=1), []
        for _ in range(60):  # the mean comes to what service really takes
            await hold(line, 0.002, done, 0)
        assert line.mean_seconds == pytest.approx(0.002, abs=0.004)
        assert line.wait_seconds() == 0
        tasks = [asyncio.create_task(hold(line, 0.05, done, number)) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="1 requests wait") as refused:
            await hold(line, 0, done, 9)
        assert refused.value.retry_after_seconds == pytest.approx(2 * line.mean_seconds)
        assert int(refused.value.headers["retry-after-ms"]) >= 1
        assert refused.value.headers["retry-after"] == "1"  # whole seconds, never none
        await asyncio.gather(*tasks)

    asyncio.run(run())


def test_who_leaves_makes_room() -> None:
    async def run() -> None:
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

    asyncio.run(run())
