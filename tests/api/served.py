"""The routes of files and fine-tuning jobs on a port of this machine, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import uvicorn
from fastapi import FastAPI

from luthier.api import errors
from luthier.api.once import Once
from luthier.api.routes import files, fine_tuning
from luthier.store import Home


@contextmanager
def served(home: Home, *bases: str) -> Iterator[str]:
    """The base URL of a server while the block lasts."""
    app = FastAPI()
    app.state.home, app.state.once = home, Once()
    app.state.deck = SimpleNamespace(routes=SimpleNamespace(bases=lambda: bases))
    errors.install(app)
    for routes in (files, fine_tuning):
        app.include_router(routes.router)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        thread.join()
