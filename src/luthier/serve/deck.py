"""The models in service: engines are opened when first asked for, adapters loaded on them, idle engines closed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from luthier.data.render import Renderer
from luthier.serve.line import Line
from luthier.serve.model import Model
from luthier.serve.routing import Route, Routes
from luthier.store.served import Stamp

if TYPE_CHECKING:
    from luthier.serve.engines.remote import Remote

PLACES = 32
"""Requests that one engine is handed at a time; it batches them as it can."""
IDLE_SECONDS = 30.0
"""An engine that was asked for more recently is not closed to make room."""


@dataclass(frozen=True)
class Found:
    """What it takes to answer on a route, as it lies on the disk."""

    base_model: str
    kind: Literal["decoder", "encoder"]
    renderer: Renderer
    context_length: int
    spec: Mapping[str, Any]
    """What its engine is opened by (`engines.table`); `name` is what people call it."""
    adapter: tuple[str, Path] | None
    """The hash of the adapter's files, and the folder that this engine reads."""
    run_id: str | None
    created: int


Find = Callable[[Route], Found]
"""Looks on the disk, and may convert what is there: it runs on a thread. Raises LuthierError."""
OpenEngine = Callable[[Mapping[str, Any]], Awaitable["Remote"]]


@dataclass
class Berth:
    """An engine in service."""

    spec: Mapping[str, Any]
    remote: Remote
    line: Line
    used_at: float = 0.0
    adapters: dict[str, asyncio.Future[None]] = field(default_factory=dict)


class Deck:
    """Holds at most `memory_bytes` of engines, as far as they are idle; `waiting` requests may stand before each."""

    def __init__(self, routes: Routes, find: Find, open_engine: OpenEngine, *, waiting: int, memory_bytes: int) -> None:
        self.routes, self.find, self.open_engine = routes, find, open_engine
        self.waiting, self.memory_bytes = waiting, memory_bytes
        self._found: dict[str, asyncio.Future[Found]] = {}
        self._berths: dict[str, asyncio.Future[Berth]] = {}

    async def open(self, name: str, stamp: Stamp | None = None) -> Model:
        """The model that `name` means as of `stamp`, by default now.

        Raises UnknownModel, and LuthierError where it cannot be served.
        """
        route = await self.routes.of(name, stamp)
        found = await once(self._found, route.ref, lambda: asyncio.to_thread(self.find, route))
        key = _key(found.spec)
        berth = await once(self._berths, key, lambda: self._open(found.spec))
        berth.used_at = time.monotonic()
        if found.adapter:
            sha256, folder = found.adapter
            await once(berth.adapters, sha256, lambda: berth.remote.load(sha256, folder))
        return Model(
            name=name, ref=route.ref, base_model=found.base_model, adapter=found.adapter and found.adapter[0],
            run_id=found.run_id, kind=found.kind, renderer=found.renderer, context_length=found.context_length,
            engine=berth.remote, engine_name=str(found.spec["engine"]), created=found.created,
        )  # fmt: skip

    def line(self, model: Model) -> Line:
        """Where requests to the model's engine wait."""
        return next(berth.line for berth in self.berths() if berth.remote is model.engine)

    def berths(self) -> Iterator[Berth]:
        """The engines that are open."""
        done = [task for task in self._berths.values() if task.done() and not task.cancelled()]
        return (task.result() for task in done if task.exception() is None)

    async def close(self) -> None:
        """End all engines."""
        await asyncio.gather(*(berth.remote.close() for berth in self.berths()))
        self._berths.clear()

    async def _open(self, spec: Mapping[str, Any]) -> Berth:
        await self._make_room()
        return Berth(spec, await self.open_engine(spec), Line(PLACES, self.waiting))

    async def _make_room(self) -> None:
        """Close idle engines, the longest unused first, until the others are within the memory."""
        open_now = sorted(self.berths(), key=lambda berth: berth.used_at)
        total = sum(berth.remote.rss_bytes for berth in open_now)
        for berth in open_now:
            if total <= self.memory_bytes:
                return
            if berth.line.idle and time.monotonic() - berth.used_at > IDLE_SECONDS:
                total -= berth.remote.rss_bytes
                del self._berths[_key(berth.spec)]
                await berth.remote.close()


def _key(spec: Mapping[str, Any]) -> str:
    return json.dumps(spec, sort_keys=True)


async def once(kept: dict[Any, asyncio.Future[Any]], key: Any, make: Callable[[], Awaitable[Any]]) -> Any:
    """What `make` came to when it was first called for `key`; all who ask meanwhile wait for that one call.

    It goes on when one of them leaves. A failure is told to those who wait and is not kept.
    """
    task = kept.get(key)
    if task is None:
        task = kept[key] = asyncio.ensure_future(make())
        task.add_done_callback(lambda done: _forget_failure(kept, key, done))
    return await asyncio.shield(task)


def _forget_failure(kept: dict[Any, asyncio.Future[Any]], key: Any, task: asyncio.Future[Any]) -> None:
    if (task.cancelled() or task.exception() is not None) and kept.get(key) is task:
        del kept[key]
