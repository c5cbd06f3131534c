"""A create that is sent again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from luthier.api import once as module
from luthier.api.once import Once


class Create:
    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self) -> dict[str, Any]:
        self.calls += 1
        await asyncio.sleep(0.01)
        return {"id": self.calls}


FIRST, RETRY = {"x-stainless-retry-count": "0"}, {"x-stainless-retry-count": "1"}
PARTS = ("/v1/fine_tuning/jobs", "key_1", b"{}")


def test_a_retry_has_the_first_reply() -> None:
    async def run() -> None:
        once, create = Once(), Create()
        assert await once(FIRST, PARTS, create) == {"id": 1}
        assert await once(RETRY, PARTS, create) == {"id": 1}
        assert await once(FIRST, PARTS, create) == {"id": 2}  # a client that says it is the first time is believed
        assert await once(RETRY, (*PARTS[:2], b"{ }"), create) == {"id": 3}
        assert await once(RETRY, ("/v1/fine_tuning/jobs", "key_2", b"{}"), create) == {"id": 4}

    asyncio.run(run())


def test_a_retry_waits_for_the_first_while_it_is_at_work() -> None:
    async def run() -> None:
        once, create = Once(), Create()
        found = await asyncio.gather(once(FIRST, PARTS, create), once(RETRY, PARTS, create))
        assert found == [{"id": 1}, {"id": 1}]

    asyncio.run(run())


def test_the_first_may_leave_and_its_work_is_there_for_the_retry() -> None:
    async def run() -> None:
        once, create = Once(), Create()
        first = asyncio.create_task(once(FIRST, PARTS, create))
        await asyncio.sleep(0.001)
        first.cancel()
        assert await once(RETRY, PARTS, create) == {"id": 1}

    asyncio.run(run())


def test_clients_that_say_nothing_have_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        once, create = Once(), Create()
        assert await once({}, PARTS, create) == await once({}, PARTS, create) == {"id": 1}
        monkeypatch.setattr(module, "SILENT_SECONDS", 0.0)
        assert await once({}, PARTS, create) == {"id": 2}

    asyncio.run(run())


def test_an_idempotency_key_stands_for_the_body() -> None:
    async def run() -> None:
        once, create = Once(), Create()
        named = {"idempotency-key": "a"}
        assert await once(named, PARTS, create) == {"id": 1}
        assert await once(named, (*PARTS[:2], b"other"), create) == {"id": 1}
        assert await once({"idempotency-key": "b"}, PARTS, create) == {"id": 2}

    asyncio.run(run())


def test_failures_are_not_kept_and_old_replies_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> dict[str, Any]:
        raise ValueError("no")

    async def run() -> None:
        once, create = Once(), Create()
        with pytest.raises(ValueError, match="no"):
            await once({}, PARTS, fail)
        assert await once({}, PARTS, create) == {"id": 1}
        monkeypatch.setattr(module, "MOST", 1)
        await once({}, ("other",), create)
        assert await once({}, PARTS, create) == {"id": 3}

    asyncio.run(run())
