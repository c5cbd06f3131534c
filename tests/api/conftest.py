"""A server on a loopback port, over fake engines."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from gateway import Service

from luthier.api.app import State, create_app


class Running:
    """A server that answers at `url`."""

    def __init__(self, state: State) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(create_app(state), log_level="error", timeout_graceful_shutdown=2))
        self.thread = threading.Thread(target=self.server.run, args=([listening],), daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.005)
        self.client = httpx.Client(base_url=self.url, timeout=10)

    def stop(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(5)


@pytest.fixture
def start() -> Iterator[Callable[[State], Running]]:
    """`start(state)` runs a server over it until the test ends."""
    running: list[Running] = []

    def run(state: State) -> Running:
        running.append(Running(state))
        return running[-1]

    yield run
    for server in running:
        server.stop()


@pytest.fixture
def service(home: Any, tiny_llama: Path, tiny_bert: Path) -> Service:
    return Service(home, {"tiny-llama": tiny_llama, "tiny-bert": tiny_bert}, {"ids": [40, 41, 42]})
