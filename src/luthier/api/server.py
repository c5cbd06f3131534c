"""The process that answers HTTP: a socket, the application, and how both end."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn

from luthier.api.app import State, create_app
from luthier.api.auth import check_host
from luthier.api.patience import Patient
from luthier.errors import LuthierError
from luthier.store import Home, keys

FINISH_SECONDS = 25
"""How long answers may go on after the server was told to stop."""
IDLE_SECONDS = 75
"""How long a connection is kept between two requests."""
HEADER_BYTES = 32 * 1024


def listen(home: Home, host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 is any free one.

    Raises LuthierError where the port is taken, the host is not this machine's, or others could ask without a key.
    """
    check_host(host, bool(keys.live(home)))
    # asyncio lets small packets go at once only where a socket says that it speaks TCP
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM,
                              socket.IPPROTO_TCP)  # fmt: skip
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(1024)
        return listening
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            mend = f"Stop what listens there, or choose another: --port {port + 1}"
            raise LuthierError(f"port {port} is taken", host, mend) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise LuthierError(f"port {port} may not be used by this user", host, "Choose one above 1023") from error
        raise LuthierError(f"cannot be listened on: {error.strerror or error}", host,
                           "Give an address of this machine, such as 127.0.0.1") from error  # fmt: skip
    except OverflowError as error:
        raise LuthierError(f"{port} is no port", "--port", "Give a number from 0 to 65535") from error


def serve(state: State, listening: socket.socket, model: str | None, ready: Callable[[], None]) -> None:
    """Answer until SIGINT or SIGTERM comes; then finish what was begun, within `FINISH_SECONDS`.

    `model` is opened before `ready` is called. Raises what opening it raises.
    """
    with _quiet_end():
        asyncio.run(_serve(uvicorn_of(state), state, listening, model, ready))


def uvicorn_of(state: State) -> uvicorn.Server:
    """The application in uvicorn, as it is run."""
    config = uvicorn.Config(
        create_app(state), http=Patient, ws="none", log_level="warning", access_log=False, server_header=False,
        timeout_keep_alive=IDLE_SECONDS, timeout_graceful_shutdown=FINISH_SECONDS,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )  # fmt: skip
    return uvicorn.Server(config)


async def _serve(
    server: uvicorn.Server, state: State, listening: socket.socket, model: str | None, ready: Callable[[], None]
) -> None:
    async def begin() -> None:
        if model is not None:
            await state.deck.open(model)
        while not server.started:
            await asyncio.sleep(0.01)
        ready()

    running, beginning = asyncio.ensure_future(server.serve([listening])), asyncio.ensure_future(begin())
    await asyncio.wait({running, beginning}, return_when=asyncio.FIRST_COMPLETED)
    failure = beginning.exception() if beginning.done() else None
    if failure is not None:
        server.should_exit = True
    await running
    if failure is not None:
        raise failure
    with suppress(asyncio.CancelledError):
        beginning.cancel()
        await beginning


@contextmanager
def _quiet_end() -> Iterator[None]:
    """uvicorn raises the signals that ended it once more; they have been obeyed."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
