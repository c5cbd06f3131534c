"""The application: routes, layers around them, and what begins and ends with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pkgutil import iter_modules

from fastapi import FastAPI

import luthier.api.routes as routes
from luthier.api import errors
from luthier.api.auth import Ring, auth
from luthier.api.edge import edge
from luthier.api.limits import limits
from luthier.api.once import Once
from luthier.serve.cache import Cache
from luthier.serve.deck import Deck
from luthier.serve.measures import Measures
from luthier.serve.trace import Tracer
from luthier.store import Home

CACHE_BYTES = 32 << 20
TIMEOUT_SECONDS = 600.0


@dataclass
class State:
    """What the routes work with: they find each field in `request.app.state`."""

    home: Home
    deck: Deck
    tracer: Tracer
    local_only: bool = True
    """Whether the server can be reached from this machine alone; if not, a key must be shown."""
    timeout_seconds: float = TIMEOUT_SECONDS
    """The longest an answer may take, where the client asks for no shorter time."""
    cache: Cache = field(default_factory=lambda: Cache(CACHE_BYTES))
    once: Once = field(default_factory=Once)
    measures: Measures = field(init=False)

    def __post_init__(self) -> None:
        self.measures = Measures(self.deck, self.tracer)


def create_app(state: State) -> FastAPI:
    """All routes over one state."""
    app = FastAPI(title="Luthier", version=version("luthier"), docs_url=None, redoc_url=None, redirect_slashes=False,
                  lifespan=partial(_lifespan, state))  # fmt: skip
    for name in ("home", "deck", "tracer", "timeout_seconds", "cache", "once", "measures"):
        setattr(app.state, name, getattr(state, name))
    modules = sorted(found.name for found in iter_modules(routes.__path__))
    app.state.routers = [import_module(f"{routes.__name__}.{module}").router for module in modules]
    for router in app.state.routers:
        app.include_router(router)
    errors.install(app)
    app.add_middleware(limits)  # of these three the last one is the outermost
    app.add_middleware(auth, ring=Ring(state.home), local_only=state.local_only)
    app.add_middleware(edge, count=state.measures.count)
    return app


@asynccontextmanager
async def _lifespan(state: State, app: FastAPI) -> AsyncIterator[None]:
    """Traces are written until all answers have ended."""
    state.tracer.start()
    try:
        yield
    finally:
        await state.deck.close()
        await asyncio.to_thread(state.tracer.close)
