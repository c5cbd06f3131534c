"""Asking a model from a terminal: through a server, or through engines that this process opens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from luthier.errors import LuthierError
from luthier.serve.chat import parse, stream
from luthier.serve.deck import Deck
from luthier.serve.refusals import Refusal

LOCAL_URL = "http://127.0.0.1:8000/v1"
"""Where `luthier up` listens."""
LOOK_SECONDS, ANSWER_SECONDS = 2.0, 600.0
Body = Mapping[str, Any]
Ask = Callable[[Body], Iterator[dict[str, Any]]]
"""From the body of a chat completion to its chunks. Closing the iterator ends the answer."""


@contextmanager
def in_process(make: Callable[[], Deck], model: str) -> Iterator[Ask]:
    """Answers of engines that are opened here; that of `model` is opened first. Raises what `Deck.open` raises."""
    with asyncio.Runner() as runner:
        deck = make()
        try:
            runner.run(_opened(deck, model))
            yield partial(_in_turn, runner, deck)
        finally:
            runner.run(deck.close())


def of_server(url: str, key: str | None) -> Ask:
    """Answers of the server at `url`, which ends in /v1. They raise Refusal where it refuses, LuthierError where there
    is none."""
    return partial(_events, url, key)


def names_of_server(url: str, key: str | None) -> list[str]:
    """The models that the server at `url` can be asked for. Raises as `of_server`."""
    with _reply(url, key, "/models", None, LOOK_SECONDS) as reply:
        try:
            return [str(entry["id"]) for entry in json.loads(reply.read())["data"]]
        except (ValueError, KeyError, TypeError):
            raise LuthierError("what answers there is no server of models", url, "Give another --url") from None


async def _opened(deck: Deck, model: str) -> None:
    await deck.open(model)


def _in_turn(runner: asyncio.Runner, deck: Deck, body: Body) -> Iterator[dict[str, Any]]:
    """The chunks; the loop runs while one is waited for, so that Ctrl-C is heard here and cancels what runs there."""
    chunks = _chunks(deck, body)

    async def following() -> dict[str, Any] | None:
        return await anext(chunks, None)

    async def end() -> None:
        await chunks.aclose()  # type: ignore[attr-defined]

    try:
        while (chunk := runner.run(following())) is not None:
            yield chunk
    finally:
        runner.run(end())


async def _chunks(deck: Deck, body: Body) -> AsyncIterator[dict[str, Any]]:
    request = parse(dict(body))
    model = await deck.open(request.model)
    async with aclosing(stream(model, request)) as chunks:
        async for chunk in chunks:
            yield chunk


def _events(url: str, key: str | None, body: Body) -> Iterator[dict[str, Any]]:
    with _reply(url, key, "/chat/completions", body, ANSWER_SECONDS) as reply:
        for line in reply:
            data = line.removeprefix(b"data:").strip()
            if not line.startswith(b"data:") or data == b"[DONE]":
                continue
            event = json.loads(data)
            if "error" in event:
                raise _refused(event, 500)
            yield event


@contextmanager
def _reply(url: str, key: str | None, path: str, body: Body | None, seconds: float) -> Iterator[HTTPResponse]:
    """The reply to a request, POST where it has a body. Raises Refusal for an error of the server's."""
    place = urlsplit(url)
    kind = HTTPSConnection if place.scheme == "https" else HTTPConnection
    if place.scheme not in ("http", "https") or not place.hostname:
        raise LuthierError("is not the address of a server", url, f"It looks like {LOCAL_URL}")
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(dict(body)).encode()
    with closing(kind(place.hostname, place.port, timeout=seconds)) as connection:
        try:
            connection.request("GET" if data is None else "POST", place.path.rstrip("/") + path, data, headers)
            reply = connection.getresponse()
        except (OSError, HTTPException) as error:
            mend = "Start one with `luthier up`, or leave --url out to have the model opened here"
            raise LuthierError(f"no server answers ({error})", url, mend) from error
        if reply.status != 200:
            raise _refused(_json(reply.read()), reply.status)
        try:
            yield reply
        except (OSError, HTTPException) as error:
            raise LuthierError(f"the answer broke off ({error})", url, "Ask again") from error


def _refused(body: Any, status: int) -> Refusal:
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return Refusal(f"the server answered with status {status}")
    refusal = Refusal(str(error.get("message")), error.get("param"), error.get("code"))
    refusal.status = status
    return refusal


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
