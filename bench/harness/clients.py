"""Clients of a server: many at once, in one thread, over connections that stay open."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

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
    host, port = urlsplit(url).hostname, urlsplit(url).port

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while waiting:
            body = body_of(model, question(waiting.pop()), tokens, stream=True,
                           stream_options={"include_usage": True})  # fmt: skip
            await _stream(reader, writer, f"{urlsplit(url).path}/chat/completions", body, found)
        writer.close()

    ends = [await asyncio.open_connection(host, port) for _ in range(clients)]
    start = time.perf_counter()
    await asyncio.gather(*(client(*pair) for pair in ends))
    found.seconds = time.perf_counter() - start
    return found


async def _stream(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: dict[str, Any], found: Slice
) -> None:
    """HTTP by hand: a client's library takes as much of the cores as the gateway that is measured."""
    content, start, first = json.dumps(body).encode(), time.perf_counter(), None
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    if " 200 " not in answer.partition("\r\n")[0]:
        raise SystemExit(f"the server says {answer}{(await reader.read(500)).decode()}")
    events = b""
    while size := int(await reader.readline(), 16):
        events += (await reader.readexactly(size + 2))[:-2]
        if first is None and b'"content":"' in events:
            first = time.perf_counter()
    await reader.readline()
    found.first_ms.append(1000 * ((first or time.perf_counter()) - start))
    last = events.rpartition(b'"usage":')[2]
    found.tokens += json.loads(last[: last.index(b"}") + 1])["completion_tokens"]
