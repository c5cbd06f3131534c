"""Clients of a server: many at once, in one thread, over connections that stay open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

TOPICS = (
    "how a bicycle stays upright", "why bread rises", "what a lighthouse is for", "how to plan a small garden",
    "why the sky turns red in the evening", "how a letter reaches another country", "what makes a good teacher",
    "how to mend a torn shirt", "why cats sleep so much", "how a river finds its way", "what a library offers a town",
    "how to learn a song by heart", "why ice floats", "how bees tell each other of flowers", "what a compass points at",
    "how to calm down before an exam",
)  # fmt: skip


def question(number: int) -> str:
    """One of as many questions as are wanted; no two begin alike, so that nothing of one helps with another."""
    return f"{number}: explain in some sentences {TOPICS[number % len(TOPICS)]}."


@dataclass
class Slice:
    """What clients saw together in some seconds."""

    tokens: int = 0
    seconds: float = 0.0
    first_ms: list[float] = field(default_factory=list)
    """From the request to the first piece of text, of each answer."""

    @property
    def rate(self) -> float:
        """Tokens a second, of all clients together."""
        return self.tokens / self.seconds


def body_of(model: str, text: str, tokens: int, **more: Any) -> dict[str, Any]:
    """A greedy chat completion."""
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": tokens, "temperature": 0,
            **more}  # fmt: skip


async def streams(url: str, model: str, numbers: Sequence[int], clients: int, tokens: int) -> Slice:
    """The answers to these questions, asked by so many clients who each wait for one before they ask the next."""
    waiting, found = list(reversed(numbers)), Slice()
    async with httpx.AsyncClient(timeout=300, limits=httpx.Limits(max_connections=clients)) as http:

        async def client() -> None:
            while waiting:
                body = body_of(model, question(waiting.pop()), tokens, stream=True,
                               stream_options={"include_usage": True})  # fmt: skip
                await _stream(http, url, body, found)

        start = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        found.seconds = time.perf_counter() - start
    return found


async def _stream(http: httpx.AsyncClient, url: str, body: dict[str, Any], found: Slice) -> None:
    import json

    start, first, last = time.perf_counter(), None, ""
    async with http.stream("POST", f"{url}/chat/completions", json=body) as reply:
        if reply.status_code != 200:
            raise SystemExit(f"the server says {reply.status_code}: {(await reply.aread()).decode()[:500]}")
        async for line in reply.aiter_lines():
            if first is None and '"content":"' in line and '"content":""' not in line:
                first = time.perf_counter()
            if line.startswith("data: {"):
                last = line
    found.first_ms.append(1000 * ((first or time.perf_counter()) - start))
    found.tokens += json.loads(last.removeprefix("data: "))["usage"]["completion_tokens"]
