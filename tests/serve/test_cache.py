"""Answers that are made once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from luthier.serve.cache import Cache


class Maker:
    def __init__(self, seconds: float = 0.0, size: int = 1, error: Exception | None = None) -> None:
        self.calls = self.cancelled = 0
        self.seconds, self.size, self.error = seconds, size, error

    async def __call__(self) -> dict[str, Any]:
        self.calls += 1
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return {"text": "x" * self.size, "deep": {"n": 0}}


def test_an_answer_is_kept_and_is_nobodys_to_change() -> None:
    async def run() -> None:
        cache, make = Cache(10_000), Maker()
        first, cached = await cache.get("a", make)
        first["deep"]["n"] = 1
        again, cached_again = await cache.get("a", make)
        assert (make.calls, cached, cached_again, again["deep"]) == (1, False, True, {"n": 0})
        assert (await cache.get("b", make))[1] is False
        assert (await cache.get(None, make))[1] is False
        assert (await cache.get(None, make))[1] is False

    asyncio.run(run())


def test_the_oldest_go_when_there_are_too_many_bytes() -> None:
    async def run() -> None:
        cache, make = Cache(10_000), Maker(size=1000)
        for key in "abcdefghijk":
            await cache.get(key, make)
            await cache.get("a", make)
        assert cache.bytes <= 10_000
        calls = make.calls
        await cache.get("a", make)
        assert make.calls == calls
        await cache.get("b", make)
        assert make.calls == calls + 1
        large = Maker(size=9000)
        await cache.get("large", large)
        await cache.get("large", large)
        assert large.calls == 2

    asyncio.run(run())


def test_one_works_for_all_who_ask_at_the_same_time() -> None:
    async def run() -> None:
        cache, make = Cache(10_000), Maker(0.02)
        found = await asyncio.gather(*(cache.get("a", make) for _ in range(5)))
        assert make.calls == 1
        assert [cached for _, cached in found] == [False, True, True, True, True]

    asyncio.run(run())


def test_work_goes_on_until_the_last_one_leaves() -> None:
    async def run() -> None:
        cache, make = Cache(10_000), Maker(0.05)
        tasks = [asyncio.create_task(cache.get("a", make)) for _ in range(3)]
        await asyncio.sleep(0.01)
        tasks[0].cancel()
        tasks[1].cancel()
        assert (await tasks[2])[0]["deep"] == {"n": 0}
        assert make.cancelled == 0
        alone = asyncio.create_task(cache.get("b", make))
        await asyncio.sleep(0.01)
        alone.cancel()
        await asyncio.wait({alone})
        await asyncio.sleep(0)
        assert make.cancelled == 1

    asyncio.run(run())


def test_failures_are_told_to_all_and_not_kept() -> None:
    async def run() -> None:
        cache, make = Cache(10_000), Maker(0.01, error=ValueError("no"))
        found = await asyncio.gather(*(cache.get("a", make) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(error, ValueError) for error in found)
        with pytest.raises(ValueError, match="no"):
            await cache.get("a", make)
        assert make.calls == 2

    asyncio.run(run())
