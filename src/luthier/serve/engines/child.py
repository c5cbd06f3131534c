"""One life of an engine's process, from its start to its end, as an event loop sees it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

import psutil

from luthier.errors import EngineLost
from luthier.serve.engines import wire
from luthier.serve.engines.engine import Ask, Piece

PROGRAM = (sys.executable, "-m", "luthier.serve.engines.process")
LONGEST_LINE = 1 << 30
"""Bytes; vectors of many rows are one line."""
LAST_WORDS = 20
"""Lines of stderr that are kept, to say what a process died of."""
PATIENCE_SECONDS = 5.0
SURROUNDINGS = {"llama_cpp": {"GOMP_SPINCOUNT": "3000"}}
"""Engine → variables of its process. The threads of llama.cpp wait for each other some hundred times a token. By
themselves they spin all the while, and where others want the same cores an answer takes ten times as long; asleep
at once, it takes twice as long on a quiet machine. So many turns cost 4 % there."""
log = logging.getLogger(__name__)


class Ended(Exception):
    """The process has ended before it answered."""


def surroundings(spec: Mapping[str, Any]) -> dict[str, str]:
    """The environment of the engine's process; what the user has set stays."""
    return SURROUNDINGS.get(str(spec["engine"]), {}) | dict(os.environ)


class Child:
    """A process that is ready to answer. Its answers end with `Ended` when it does."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process, self.alive = process, True
        self._waiting: dict[str, asyncio.Queue[Any]] = {}
        self._numbers = count()
        self._words: deque[str] = deque(maxlen=LAST_WORDS)
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def start(cls, spec: Mapping[str, Any]) -> Child:
        """A new process of this specification, once it is ready.

        Raises what it says where it cannot open its engine; Ended, with the last it wrote to stderr, where a signal
        ends it meanwhile, and EngineLost where it ends in any other way.
        """
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, stdin=pipe, stdout=pipe, stderr=pipe, limit=LONGEST_LINE, start_new_session=True,
            env=surroundings(spec),
        )  # fmt: skip
        child = cls(process)
        listening = asyncio.ensure_future(child._hear())
        child._tasks.append(listening)
        try:
            child._say(dict(spec))
            assert process.stdout is not None
            first = json.loads(await process.stdout.readline() or b"null")
            if first is None:
                raise await child._how_it_ended()
            if "error" in first:
                raise wire.error_in(first["error"])
        except BaseException:
            child.kill()
            await child.close()
            raise
        child._tasks.append(asyncio.ensure_future(child._listen()))
        return child

    async def answer(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """The pieces of an answer; closing the iterator before the last one cancels it. Raises Ended."""
        id = str(next(self._numbers))
        queue = self._wait(id)
        piece = None
        try:
            self._say({"start": wire.ask_out(replace(ask, id=id))})
            while piece is None or piece.finish is None:
                found = await queue.get()
                if found is None:
                    raise Ended
                piece = wire.piece_in(*found)
                yield piece
        finally:
            del self._waiting[id]
            if self.alive and (piece is None or piece.finish is None):
                self._say({"cancel": id})

    async def do(self, wish: dict[str, Any]) -> Any:
        """What the process gives back for `embed` or `load`. Raises Ended, and whatever it raised."""
        id = str(next(self._numbers))
        queue = self._wait(id)
        try:
            self._say(wish | {"id": id})
            found = await queue.get()
        finally:
            del self._waiting[id]
        if found is None:
            raise Ended
        if "error" in found:
            raise wire.error_in(found["error"])
        return found["value"]

    @property
    def rss_bytes(self) -> int:
        """Memory of the process that is resident; 0 once it has ended."""
        with suppress(psutil.Error):
            return int(psutil.Process(self.process.pid).memory_info().rss)
        return 0

    async def close(self) -> None:
        """Let it end, kill it where it does not, and wait for its end."""
        self._shut()
        try:
            await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)
        except TimeoutError:
            self.kill()
        await asyncio.gather(self.process.wait(), *self._tasks)

    def kill(self) -> None:
        """End it now."""
        with suppress(ProcessLookupError):
            self.process.kill()

    def _shut(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def _wait(self, id: str) -> asyncio.Queue[Any]:
        if not self.alive:
            raise Ended
        self._waiting[id] = asyncio.Queue()
        return self._waiting[id]

    def _say(self, document: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(wire.line(document))

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            document = json.loads(line)
            if "pieces" in document:
                for id, *piece in document["pieces"]:
                    self._give(id, piece)
            elif "done" in document:
                self._give(document["done"], document)
            else:
                log.error("the engine refused a line: %s", document.get("refused"))
        self.alive = False
        self._shut()
        for queue in self._waiting.values():
            queue.put_nowait(None)

    def _give(self, id: str, found: Any) -> None:
        if id in self._waiting:  # else it was cancelled, and this was under way
            self._waiting[id].put_nowait(found)

    async def _hear(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            word = line.decode(errors="replace").rstrip()
            self._words.append(word)
            log.debug("%s", word)

    async def _how_it_ended(self) -> Exception:
        code = await self.process.wait()
        await asyncio.gather(*self._tasks)
        said = next((word for word in reversed(self._words) if word.strip()), "nothing")
        what = f"the process of the engine ended with code {code} before it was ready; it said: {said}"
        return Ended(what) if code < 0 else EngineLost(what)
