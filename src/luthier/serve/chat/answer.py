"""Answers to a request: whole, as a `chat.completion`, or in chunks as they are written."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from luthier.errors import EngineLost
from luthier.serve.chat.calls import Call, CallForm
from luthier.serve.chat.merge import all_of, merged
from luthier.serve.chat.prepare import Prepared, prepare
from luthier.serve.chat.request import ChatRequest
from luthier.serve.chat.writer import Delta, Writer
from luthier.serve.engines.engine import Ask, Piece
from luthier.serve.refusals import BadRequest

if TYPE_CHECKING:
    from luthier.serve.model import Model

LIVES = 3
"""How often an answer that is read as it comes is begun."""
SHORT_LETTERS = 4000
"""A text of so many is rendered in about a millisecond."""
CALL_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


async def answer(model: Model, request: ChatRequest) -> dict[str, Any]:
    """The `chat.completion`. Raises BadRequest, Unanswered, or what the engine raises."""
    id = new_id()
    prepared = await _prepared(model, request, id)
    found = await all_of(_whole(model, request, prepared.form, ask) for ask in prepared.asks)
    more = {"metadata": dict(request.metadata)} if request.metadata else {}
    return {
        **_head(id, "chat.completion", model),
        "choices": [_choice(i, request, delta) for i, (delta, _) in enumerate(found)],
        "usage": _usage(prepared, (tokens for _, tokens in found)),
        **more,
    }


async def stream(model: Model, request: ChatRequest) -> AsyncGenerator[dict[str, Any], None]:
    """The `chat.completion.chunk`s. What `answer` raises is raised before the first one, wherever it is known by then.

    Closing the iterator cancels the answers.
    """
    id = new_id()
    prepared = await _prepared(model, request, id)
    writers = [Writer(model.renderer, request, prepared.form) for _ in prepared.asks]
    pairs = zip(prepared.asks, writers, strict=True)
    head = _head(id, "chat.completion.chunk", model) | ({"usage": None} if request.include_usage else {})
    called = [0] * request.n
    begun = [False] * request.n
    async with aclosing(merged([_deltas(model, request, ask, writer) for ask, writer in pairs])) as deltas:
        async for index, delta in deltas:
            for choice in _chunks(index, request, delta, begun[index], called[index]):
                begun[index] = True
                yield head | {"choices": [choice]}
            called[index] += len(delta.calls)
    if request.include_usage:
        yield head | {"choices": [], "usage": _usage(prepared, (writer.tokens for writer in writers))}


def new_id() -> str:
    return f"chatcmpl-{secrets.token_hex(16)}"


def fingerprint(model: Model) -> str:
    """`system_fingerprint`: the same for the same weights on the same engine."""
    key = "\0".join((model.base_model, model.adapter or "", model.engine_name))
    return f"fp_{hashlib.sha256(key.encode()).hexdigest()[:12]}"


async def _prepared(model: Model, request: ChatRequest, id: str) -> Prepared:
    """Long texts are read on a thread; a short one is read sooner than a thread wakes."""
    if not request.tools and sum(len(str(turn.get("content"))) for turn in request.messages) < SHORT_LETTERS:
        return prepare(model, request, id)
    return await asyncio.to_thread(prepare, model, request, id)


async def _deltas(model: Model, request: ChatRequest, ask: Ask, writer: Writer) -> AsyncGenerator[Delta, None]:
    """An answer as it is written; the engine is told to end it where a stop string does."""
    async with aclosing(model.engine.stream(ask)) as pieces:
        async for piece in pieces:
            yield _written(request, writer, piece)
            if writer.done and piece.finish is None:
                return


async def _whole(model: Model, request: ChatRequest, form: CallForm | None, ask: Ask) -> tuple[Delta, int]:
    """All of an answer as one delta, and its tokens. Asked again where the process of the engine dies over it.

    Where the text may say that the answer ends, it is read as it comes.
    """
    lives = LIVES
    while True:
        writer = Writer(model.renderer, request, form)
        if not request.stop and request.parallel_calls:
            done = await model.engine.complete(ask)
            return _written(request, writer, Piece(done.tokens, done.finish, done.error)), writer.tokens
        try:
            async with aclosing(_deltas(model, request, ask, writer)) as deltas:
                return _joined([delta async for delta in deltas]), writer.tokens
        except EngineLost:
            lives -= 1
            if not lives:
                raise


def _joined(parts: Sequence[Delta]) -> Delta:
    calls = tuple(call for part in parts for call in part.calls)
    entries = tuple(entry for part in parts for entry in part.logprobs)
    return Delta("".join(part.text for part in parts), calls, entries, parts[-1].finish)


def _written(request: ChatRequest, writer: Writer, piece: Piece) -> Delta:
    """Raises BadRequest where an engine cannot even begin with a schema: it is the schema that it cannot follow."""
    if piece.finish == "error" and request.schema is not None and not writer.tokens:
        raise BadRequest(f"`response_format`: {piece.error}", "response_format")
    return writer.add(piece)


def _head(id: str, kind: str, model: Model) -> dict[str, Any]:
    return {
        "id": id,
        "object": kind,
        "created": int(time.time()),
        "model": model.ref,
        "system_fingerprint": fingerprint(model),
    }


def _choice(index: int, request: ChatRequest, delta: Delta) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": delta.text, "refusal": None}
    if delta.calls:
        message |= {"content": delta.text or None, "tool_calls": [_call(call) for call in delta.calls]}
    logprobs = _logprobs(request, delta)
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": delta.finish}


def _chunks(index: int, request: ChatRequest, delta: Delta, begun: bool, called: int) -> Iterable[dict[str, Any]]:
    """The choices of the chunks that a delta makes: what it says or calls, then how the answer ended."""
    said: dict[str, Any] = {} if begun else {"role": "assistant"}
    if delta.text:
        said["content"] = delta.text
    if delta.calls:
        said["tool_calls"] = [{"index": called + i} | _call(call) for i, call in enumerate(delta.calls)]
    logprobs = _logprobs(request, delta) if delta.logprobs else None
    if delta.text or delta.calls or delta.logprobs or (delta.finish and not begun):
        yield {"index": index, "delta": said, "logprobs": logprobs, "finish_reason": None}
    if delta.finish:
        yield {"index": index, "delta": {}, "logprobs": None, "finish_reason": delta.finish}


def _logprobs(request: ChatRequest, delta: Delta) -> dict[str, Any] | None:
    return None if request.top_logprobs is None else {"content": list(delta.logprobs), "refusal": None}


def _call(call: Call) -> dict[str, Any]:
    """With an id of nine letters and digits, as the strictest of templates wants them."""
    id = "".join(secrets.choice(CALL_ID_LETTERS) for _ in range(9))
    return {"id": id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _usage(prepared: Prepared, tokens: Iterable[int]) -> dict[str, int]:
    prompt, written = len(prepared.prompt), sum(tokens)
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
