"""What the programs that besiege a server count, and when they are content."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest
import serve
import siege
from harness.clients import Slice, body_of, question

ANSWER = {"id": "chatcmpl-1", "choices": [{"message": {"content": "four"}, "finish_reason": "stop"}]}


def asked(replies: Callable[[int], httpx.Response]) -> siege.Seen:
    """One request to a server that gives these replies, by the number of the try."""
    seen, tries = siege.Seen(), []

    def reply(request: httpx.Request) -> httpx.Response:
        tries.append(request)
        return replies(len(tries))

    async def one() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(reply)) as http:
            await siege.ask(http, "http://server/v1", body_of("m", question(1), 4), seen)

    asyncio.run(one())
    return seen


def test_who_is_refused_comes_back_when_told_to() -> None:
    busy = httpx.Response(429, headers={"retry-after-ms": "1", "retry-after": "60"})
    seen = asked(lambda number: busy if number < 3 else httpx.Response(200, json=ANSWER))
    assert seen.tries == [3]
    assert seen.ids == ["chatcmpl-1"]
    assert (seen.given_up, seen.without_time) == (0, 0)
    assert dict(seen.statuses) == {429: 2, 200: 1}
    assert all(siege.common(seen).values())


def test_a_refusal_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = asked(lambda number: httpx.Response(429, headers={"retry-after-ms": "0.01"}))
    assert (seen.given_up, seen.without_time) == (1, 0)
    assert seen.statuses[429] == siege.MOST_TRIES


def test_errors_and_empty_answers_are_not_answers() -> None:
    assert not siege.common(asked(lambda number: httpx.Response(500, json={})))["no reply was an error of the server"]
    empty = {"id": "x", "choices": [{"message": {"content": ""}, "finish_reason": "error"}]}
    assert not siege.common(asked(lambda number: httpx.Response(200, json=empty)))["every request had a reply"]


def test_a_connection_that_breaks_is_seen() -> None:
    def broken(number: int) -> httpx.Response:
        raise httpx.RemoteProtocolError("gone")

    assert asked(broken).broken == ["RemoteProtocolError"]


def test_memory_that_grows_is_told_from_memory_that_has_grown() -> None:
    filled = [{"second": float(s), "engine": min(1e9, 5e8 + 1e7 * s)} for s in range(300)]
    leaks = [{"second": float(s), "engine": 1e9 + 1e6 * s} for s in range(300)]
    assert siege.grown(filled, "engine") == pytest.approx(0)
    assert siege.grown(leaks, "engine") == pytest.approx(0.179 / 1.21, rel=0.02)
    assert siege.grown([], "engine") == 0


def test_slices_take_turns_and_medians_are_of_pairs() -> None:
    order: list[str] = []

    def side(name: str, rate: float, first: float) -> Callable[[int], Slice]:
        def slice_of(clients: int) -> Slice:
            order.append(name)
            return Slice(tokens=int(100 * rate), seconds=100.0, first_ms=[first])

        return slice_of

    found = serve.beside(side("through", 38.0, 12.0), side("without", 40.0, 10.0), 4, 3)
    assert order == ["without", "through", "through", "without", "without", "through"]
    assert found["ratio"] == pytest.approx(0.95)
    assert found["added_first_ms"] == pytest.approx(2.0)


def test_no_two_questions_begin_alike() -> None:
    assert len({question(number)[:4] for number in range(100)}) == 100
