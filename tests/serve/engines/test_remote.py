"""A process that answers, dies, and is started again; here with an engine that repeats its prompt."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import EngineLost, ModelError
from luthier.serve.engines import child
from luthier.serve.engines.engine import Ask, Piece, Token
from luthier.serve.engines.remote import Remote

PARROT = (sys.executable, str(Path(__file__).parent / "parrot.py"))
SPEC = {"engine": "parrot", "base": "any"}


@pytest.fixture(autouse=True)
def parrot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "PROGRAM", PARROT)


def ask(prompt: Any = (3, 1, 2), **settings: Any) -> Ask:
    return Ask("same", prompt, 9, **settings)


def run(do: Callable[[Remote], Awaitable[Any]], **spec: Any) -> Any:
    async def body() -> Any:
        remote = await Remote.open(SPEC | spec)
        try:
            return await asyncio.wait_for(do(remote), 30)
        finally:
            await remote.close()
            assert not remote.alive

    return asyncio.run(body())


def ids(tokens: tuple[Token, ...]) -> list[int]:
    return [token.id for token in tokens]


def kill(remote: Remote) -> None:
    running = remote._child()
    assert running is not None
    os.kill(running.process.pid, signal.SIGKILL)


def test_answers_come_back_whole_and_in_pieces_whatever_is_printed() -> None:
    async def do(remote: Remote) -> None:
        many = await asyncio.gather(*(remote.complete(ask(range(n, n + 5))) for n in range(50)))
        assert [ids(answer.tokens) for answer in many] == [list(range(n, n + 5)) for n in range(50)]
        assert {answer.finish for answer in many} == {"stop"}
        pieces = [piece async for piece in remote.stream(ask((4, 5), seed=3, top_logprobs=2))]
        tops = ((4, -0.5), (7, -1.5)), ((5, -0.5), (7, -1.5))
        written = reduce(Piece.and_then, pieces)
        assert written == Piece(tuple(Token(n, -0.5, top) for n, top in zip((4, 5), tops, strict=True)), "stop")
        assert [piece.finish for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert remote.alive
        assert remote.restarts == 0
        assert remote.rss_bytes > 1_000_000

    run(do)


def test_an_answer_is_cancelled_by_closing_its_pieces_or_its_task() -> None:
    async def do(remote: Remote) -> None:
        whole = asyncio.ensure_future(remote.complete(ask(seed=1)))
        pieces = remote.stream(ask(seed=1))
        first = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0.2)
        whole.cancel()
        first.cancel()
        await asyncio.gather(whole, first, return_exceptions=True)
        while await remote.embed([[0]]) != [[2.0]]:
            await asyncio.sleep(0.01)
        assert ids((await remote.complete(ask())).tokens) == [3, 1, 2]

    run(do)


def test_what_was_asked_of_a_process_that_dies_is_asked_again(tmp_path: Path) -> None:
    async def do(remote: Remote) -> None:
        await remote.load("tickets", tmp_path)
        answer = await remote.complete(ask(seed=2))
        assert ids(answer.tokens) == [3, 1, 2]
        assert remote.restarts == 1
        assert (await remote.complete(ask(adapter="tickets"))).finish == "stop"
        assert (await remote.complete(ask(adapter="other"))).error == "there is no adapter 'other'"

    run(do, spared=str(tmp_path / "spared"))


def test_pieces_are_asked_for_again_only_before_the_first(tmp_path: Path) -> None:
    async def do(remote: Remote) -> None:
        assert len(ids([token async for piece in remote.stream(ask(seed=2)) for token in piece.tokens])) == 3
        (tmp_path / "spared").unlink()
        pieces = remote.stream(ask(seed=2, top_p=0.5))
        assert (await anext(pieces)).tokens == (Token(3),)
        with pytest.raises(EngineLost, match="in the middle of an answer"):
            await anext(pieces)
        assert remote.restarts == 1
        assert len(ids([token async for piece in remote.stream(ask()) for token in piece.tokens])) == 3

    run(do, spared=str(tmp_path / "spared"))


def test_nothing_is_lost_while_processes_are_killed() -> None:
    async def do(remote: Remote) -> None:
        answers = asyncio.gather(*(_after(n * 0.01, remote.complete(ask(range(n, n + 4)))) for n in range(150)))
        kills = 0
        while not answers.done():
            await asyncio.sleep(0.3)
            if remote.alive and kills < 4:
                kill(remote)
                kills += 1
        assert [ids(answer.tokens) for answer in await answers] == [list(range(n, n + 4)) for n in range(150)]
        assert 2 <= remote.restarts <= kills

    run(do)


async def _after(seconds: float, answer: Awaitable[Any]) -> Any:
    await asyncio.sleep(seconds)
    return await answer


def test_what_kills_every_process_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.serve.engines.remote.LIVES", 2)

    async def do(remote: Remote) -> None:
        with pytest.raises(EngineLost, match="ended 2 times over the same request"):
            await remote.complete(ask(seed=2))
        assert (await remote.complete(ask())).finish == "stop"

    run(do, spared="/nowhere/at/all")


def test_a_process_that_cannot_start_says_why() -> None:
    with pytest.raises(ModelError, match=r"parrot: is broken\. Buy another\."):
        run(lambda remote: remote.embed([]), base="broken")
    with pytest.raises(EngineLost, match="RuntimeError: a bug of ours"):
        run(lambda remote: remote.embed([]), base="bug")
    with pytest.raises(EngineLost, match=r"ended with code -9 before it was ready; it said: farewell"):
        run(lambda remote: remote.embed([]), base="killed")
    with pytest.raises(ModelError, match=r"no engine is called `gone`\. There are torch"):
        run(lambda remote: remote.embed([]), engine="gone")


def test_errors_of_embed_and_load_keep_their_class() -> None:
    async def do(remote: Remote) -> None:
        assert await remote.embed([[1, 2], [3]]) == [[2.0], [1.0]]
        with pytest.raises(ModelError, match="writes text"):
            await remote.embed([])
        with pytest.raises(ModelError, match="cannot be run"):
            await remote.load("bad", Path("/x"))

    run(do)


def test_closing_ends_what_is_under_way() -> None:
    async def body() -> None:
        remote = await Remote.open(SPEC)
        waiting = asyncio.ensure_future(remote.complete(ask(seed=1)))
        await asyncio.sleep(0.1)
        await remote.close()
        with pytest.raises(EngineLost, match="closed"):
            await waiting

    asyncio.run(body())


def test_bad_lines_are_refused_and_the_next_is_done() -> None:
    lines = b'{"engine": "parrot", "base": "any"}\nno json\n{"sing": 1}\n{"start": {"id": "a"}}\n[]\n'
    with subprocess.Popen(PARROT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(lines + b'{"embed": [[1, 2]], "id": "b"}\n')
        process.stdin.flush()
        said = [process.stdout.readline() for _ in range(6)]
        assert said[0] == b'{"ready":true}\n'
        assert sum(b'"refused"' in line for line in said) == 3
        assert sum(line.startswith(b'{"pieces":[["a",[],"error","TypeError') for line in said) == 1
        assert said[5] == b'{"done":"b","value":[[2.0]]}\n'
        process.stdin.close()  # as when the one that started it dies
        assert process.wait(5) == 0
