"""HTTP/1.1 as uvicorn speaks it, with a limit on how long the head of a request may take."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0


class Patient(H11Protocol):
    """Closes a connection that has not sent a whole head in time, and says in JSON what is wrong with one."""

    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The first head is awaited."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """More of a head, or of a body."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._unwatch()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, or has too large a head."""
        error = {"message": msg.rstrip(".") + ".", "type": "invalid_request_error", "param": None,
                 "code": "invalid_http"}  # fmt: skip
        body = json.dumps({"error": error}).encode()
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: "
        self.transport.write(head + str(len(body)).encode() + b"\r\n\r\n" + body)
        self.transport.close()

    def _watch(self) -> None:
        """A head is under way as long as the client's side has not come to a body or an end."""
        awaited = self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None
        if not awaited:
            self._unwatch()
        elif self.head_timer is None:
            self.head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _unwatch(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None
