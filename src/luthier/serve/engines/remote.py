"""An engine in a process of its own, as a server holds it: the process may die, what was asked of it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from luthier.errors import EngineLost
from luthier.serve.engines.child import Child, Ended
from luthier.serve.engines.engine import Ask, Finish, Piece, Token

LIVES = 10
"""How many processes may end over one wish before it is given up: it may be what they die of."""
STARTS = 5
"""How many processes in a row may be killed before they are ready; of the first, none."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
Result = TypeVar("Result")


@dataclass(frozen=True)
class Answer:
    """All of an answer; where `finish` is `error`, `error` says why in a sentence."""

    tokens: tuple[Token, ...]
    finish: Finish
    error: str = ""


class Remote:
    """Belongs to the event loop that opened it. A process that has ended is started again, with its adapters.

    `restarts` counts how often. Processes that end without having answered anything are followed after a pause, which
    doubles.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._spec = dict(spec) | {"adapters": {name: str(at) for name, at in spec.get("adapters", {}).items()}}
        self._starting: asyncio.Task[Child] | None = None
        self._closed = False
        self._useless = 0
        self.restarts = -1

    @classmethod
    async def open(cls, spec: Mapping[str, Any]) -> Remote:
        """The engine of this specification (`table` says what it holds), ready to answer.

        Raises what its process says, by class, where the engine cannot be opened, and EngineLost where the process
        ends without a word.
        """
        remote = cls(spec)
        await remote._living()
        return remote

    async def complete(self, ask: Ask) -> Answer:
        """All of an answer. Asked again where the process dies; cancelling the awaiting task cancels it.

        Raises EngineLost where ten processes have died of it, or none can be started.
        """

        async def whole(child: Child) -> Answer:
            tokens: list[Token] = []
            async with aclosing(child.answer(ask)) as pieces:
                async for piece in pieces:
                    tokens += piece.tokens
                    if piece.finish is not None:
                        return Answer(tuple(tokens), piece.finish, piece.error)
            raise AssertionError("the last piece says how an answer ended")

        return await self._again(whole)

    async def stream(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """The pieces of an answer, the last one with `finish`; closing the iterator cancels the answer.

        Asked again where the process dies before there was any piece. Raises EngineLost where it dies later.
        """
        for _ in range(LIVES):
            child, begun = await self._living(), False
            try:
                async with aclosing(child.answer(ask)) as pieces:
                    async for piece in pieces:
                        begun = True
                        self._useless = 0
                        yield piece
                return
            except Ended:
                if begun:
                    raise EngineLost("the process of the engine ended in the middle of an answer") from None
        raise _given_up()

    async def embed(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """One vector of length 1 a row. Raises ModelError where the model writes text, and as `complete`."""
        wish = {"embed": [list(row) for row in rows]}
        return await self._again(lambda child: child.do(wish))

    async def load(self, name: str, folder: Path) -> None:
        """Hold the LoRA adapter in `folder` under `name`, also in processes to come.

        Raises ModelError where the engine cannot run it, and as `complete`.
        """
        wish = {"load": name, "folder": str(folder)}
        await self._again(lambda child: child.do(wish))
        self._spec["adapters"][name] = str(folder)

    async def close(self) -> None:
        """End all answers and the process."""
        self._closed = True
        if self._starting is not None:
            if not self._starting.done():
                self._starting.cancel()
            await asyncio.wait([self._starting])
            if child := self._child():
                await child.close()

    @property
    def alive(self) -> bool:
        """Whether there is a process that is ready to answer."""
        child = self._child()
        return child is not None and child.alive

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the process; 0 where there is none."""
        child = self._child()
        return child.rss_bytes if child else 0

    async def _again(self, do: Callable[[Child], Awaitable[Result]]) -> Result:
        for _ in range(LIVES):
            child = await self._living()
            try:
                result = await do(child)
                self._useless = 0
                return result
            except Ended:
                continue
        raise _given_up()

    def _child(self) -> Child | None:
        task = self._starting
        return task.result() if task and task.done() and not task.cancelled() and not task.exception() else None

    async def _living(self) -> Child:
        """The process that answers; all who need one wait for the same one to start."""
        if self._closed:
            raise EngineLost("the engine was closed")
        if self._starting is None or (self._starting.done() and not self.alive):
            self._starting = asyncio.ensure_future(self._start(again=self.restarts >= 0))
        return await asyncio.shield(self._starting)

    async def _start(self, again: bool) -> Child:
        reason = ""
        for _ in range(STARTS if again else 1):
            if again:
                await asyncio.sleep(min(FIRST_PAUSE_SECONDS * 2**self._useless, LONGEST_PAUSE_SECONDS))
            self.restarts += 1
            self._useless += 1
            try:
                return await Child.start(self._spec)
            except Ended as ended:
                reason = str(ended)
        raise EngineLost(reason, mend="There may be too little memory for the model")


def _given_up() -> EngineLost:
    return EngineLost(f"the process of the engine ended {LIVES} times over the same request")
