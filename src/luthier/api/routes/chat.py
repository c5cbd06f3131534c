"""POST /v1/chat/completions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from luthier.api.answering import begin, end, seconds_left, serves, unless_left
from luthier.api.events import Events
from luthier.api.limits import read_object
from luthier.api.reading import CHAT, ERRORS
from luthier.serve.chat import ChatRequest, answer, cache_key, parse, stream
from luthier.serve.model import Model
from luthier.serve.trace import Trace
from luthier.serve.whole import Whole

router = APIRouter(tags=["chat"])


@router.post("/v1/chat/completions", openapi_extra=CHAT, responses=ERRORS)
async def create(request: Request) -> Response:
    """Answer a conversation, at once or in pieces."""
    body = await read_object(request)
    trace = begin(request, "chat.completions", "chatcmpl-", body, len(await request.body()))
    try:
        asked, seconds = parse(body), seconds_left(request)
        model = await request.app.state.deck.open(asked.model, request.scope["state"]["stamp"])
        serves(request, trace, model)
        if asked.stream:
            chunks = _chunks(request, trace, model, asked)
            return await Events(request, chunks, seconds, partial(end, request, trace)).ready()
        found = await unless_left(request, _whole(request, trace, model, asked), seconds)
    except BaseException as error:
        end(request, trace, error)
        raise
    end(request, trace)
    return _json(found)


async def _whole(request: Request, trace: Trace, model: Model, asked: ChatRequest) -> dict[str, Any]:
    """The completion; where it must come out the same again, one that was made before."""
    state, key = request.app.state, cache_key(model, asked)

    async def make() -> dict[str, Any]:
        async with state.deck.line(model).place():
            return await answer(model, asked)

    found, trace.cached = await state.cache.get(key and f"{trace.key_id} {key}", make)
    found |= {"id": trace.id, "model": model.ref}
    if found.pop("metadata", None) or asked.metadata:
        found["metadata"] = dict(asked.metadata)
    _keep(trace, found)
    return found


async def _chunks(request: Request, trace: Trace, model: Model, asked: ChatRequest) -> AsyncIterator[dict[str, Any]]:
    """The pieces of the completion as the client is to have them; the trace keeps them as one."""
    whole = Whole()
    try:
        async with (
            request.app.state.deck.line(model).place(),
            aclosing(stream(model, replace(asked, include_usage=True))) as chunks,  # type: ignore[type-var]
        ):
            async for chunk in chunks:
                whole.add(chunk)
                if trace.first_token_ms is None and whole.begun:
                    trace.first_token_ms = trace.since_ms()
                if chunk["choices"] or asked.include_usage:
                    yield _as_asked({**chunk, "id": trace.id}, asked)
    finally:
        _keep(trace, whole.completion(trace.id, model.ref))


def _as_asked(chunk: dict[str, Any], asked: ChatRequest) -> dict[str, Any]:
    if not asked.include_usage:
        chunk.pop("usage", None)
    return chunk


def _keep(trace: Trace, found: dict[str, Any]) -> None:
    usage = found.get("usage") or {}
    trace.answer = found
    trace.prompt_tokens = usage.get("prompt_tokens", 0)
    trace.completion_tokens = usage.get("completion_tokens", 0)
    trace.size += sum(len(str(choice["message"].get("content"))) for choice in found["choices"])


def _json(found: dict[str, Any]) -> Response:
    return Response(json.dumps(found, ensure_ascii=False, separators=(",", ":")), media_type="application/json")
