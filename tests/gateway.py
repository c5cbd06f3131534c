"""An engine without a model, as the gateway holds it, and a state around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.api.app import State
from luthier.data.render import Renderer
from luthier.serve.deck import Deck, Found
from luthier.serve.engines.engine import Ask, Piece, Token
from luthier.serve.routing import Route, Routes
from luthier.serve.trace import Tracer
from luthier.store import Home


@dataclass(frozen=True)
class Answer:
    tokens: tuple[Token, ...]
    finish: str
    error: str = ""


@dataclass
class FakeRemote:
    """Says `ids`, one every `seconds`; remembers what it was asked and what was given up."""

    spec: Mapping[str, Any]
    ids: Sequence[int] = ()
    seconds: float = 0.0
    error: Exception | None = None
    asks: list[Ask] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    alive: bool = True
    restarts: int = 0
    rss_bytes: int = 100

    async def stream(self, ask: Ask) -> AsyncIterator[Piece]:
        self.asks.append(ask)
        done = False
        try:
            for id in self.ids:
                await asyncio.sleep(self.seconds)
                yield Piece((Token(id, *((-0.5, ((id, -0.5),)) if ask.top_logprobs is not None else ())),))
            if self.error:
                raise self.error
            yield Piece(finish="stop")
            done = True
        finally:
            if not done:
                self.given_up.append(ask.id)

    async def complete(self, ask: Ask) -> Answer:
        pieces = [piece async for piece in self.stream(ask)]
        return Answer(tuple(token for piece in pieces for token in piece.tokens), str(pieces[-1].finish))

    async def embed(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        await asyncio.sleep(self.seconds)
        return [[0.6, 0.8] for _ in rows]

    async def load(self, name: str, folder: Path) -> None:
        self.loaded.append(name)

    async def close(self) -> None:
        self.alive = False


@dataclass
class Service:
    """A gateway over fake engines: `remotes` are those that were opened."""

    home: Home
    folders: Mapping[str, Path]
    engine: Mapping[str, Any]
    waiting: int = 8
    redaction: str = "off"
    remotes: list[FakeRemote] = field(default_factory=list)
    found: list[str] = field(default_factory=list)

    def find(self, route: Route) -> Found:
        self.found.append(route.ref)
        base = route.version.base["name"] if route.version else route.ref
        adapter = (route.version.adapter_sha256, Path("adapter")) if route.version else None
        kind = "encoder" if "bert" in base else "decoder"
        renderer = Renderer.from_folder(self.folders[base])
        spec = {"engine": "fake", "base": str(self.folders[base]), "name": base}
        return Found(base, kind, renderer, 512, spec, adapter, route.version and route.version.run_id, 1)

    async def open_engine(self, spec: Mapping[str, Any]) -> Any:
        self.remotes.append(FakeRemote(spec, **self.engine))
        return self.remotes[-1]

    def bases(self) -> Iterable[str]:
        return self.folders

    def state(self, **settings: Any) -> State:
        deck = Deck(Routes(self.home, self.bases), self.find, self.open_engine, waiting=self.waiting,
                    memory_bytes=1 << 40)  # fmt: skip
        return State(self.home, deck, Tracer(self.home, self.redaction), **settings)  # type: ignore[arg-type]
