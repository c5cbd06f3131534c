"""A create that is sent twice, because its first reply was lost, creates one thing."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

SECONDS = 60.0
"""How long a reply is remembered: longer than OpenAI's clients go on trying."""
SILENT_SECONDS = 3.0
"""How long for clients that do not say whether they try again."""
MOST = 1000

Reply = dict[str, Any]


class Once:
    """Replies to creates, by who asked for what."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, asyncio.Future[Reply]]] = OrderedDict()

    async def __call__(
        self, headers: Mapping[str, str], parts: tuple[str | bytes | None, ...], create: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        """The reply of `create`, or the earlier one where this is the same request again. Failures are not kept.

        `parts` say what is asked for and by whom: the route, the id of the key, the body or the hashes of its files.
        The same request again is one with the same `idempotency-key`; one that says it is a retry
        (`x-stainless-retry-count`); or, from a client that says neither, one within `SILENT_SECONDS`. A client that
        says it tries for the first time is believed.
        """
        named, retry = headers.get("idempotency-key"), headers.get("x-stainless-retry-count")
        key = _digest((*parts[:2], named) if named else parts)
        known = self._known.get(key)
        if known is not None:
            age = time.monotonic() - known[0]
            if age < (SECONDS if named or retry else SILENT_SECONDS) and (named or retry != "0"):
                return await asyncio.shield(known[1])
        future = asyncio.ensure_future(create())
        self._remember(key, future)
        return await asyncio.shield(future)

    def _remember(self, key: str, future: asyncio.Future[Reply]) -> None:
        self._known[key] = (time.monotonic(), future)
        self._known.move_to_end(key)
        while len(self._known) > MOST:
            self._known.popitem(last=False)

        def forget(done: asyncio.Future[Reply]) -> None:
            known = self._known.get(key)
            if (done.cancelled() or done.exception() is not None) and known and known[1] is done:
                del self._known[key]

        future.add_done_callback(forget)


def _digest(parts: tuple[str | bytes | None, ...]) -> str:
    """Another text for other parts, wherever they are cut."""
    hashed = hashlib.sha256()
    for part in parts:
        content = b"" if part is None else part.encode() if isinstance(part, str) else part
        hashed.update(f"{'none' if part is None else len(content)}:".encode() + content)
    return hashed.hexdigest()
