"""POST /v1/embeddings."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from luthier.api.answering import begin, end, seconds_left, serves, unless_left
from luthier.api.limits import read_object
from luthier.api.reading import EMBEDDINGS, ERRORS
from luthier.serve.embeddings import EmbeddingRequest, parse, rows_of
from luthier.serve.model import Model

router = APIRouter(tags=["embeddings"])


@router.post("/v1/embeddings", openapi_extra=EMBEDDINGS, responses=ERRORS)
async def create(request: Request) -> Response:
    """One vector of length 1 for each input."""
    body = await read_object(request)
    trace = begin(request, "embeddings", "embd-", body, len(await request.body()))
    try:
        asked, seconds = parse(body), seconds_left(request)
        model = await request.app.state.deck.open(asked.model, request.scope["state"]["stamp"])
        serves(request, trace, model)
        rows = rows_of(model, asked)
        trace.prompt_tokens = sum(map(len, rows))
        vectors = await unless_left(request, _embed(request, model, rows), seconds)
        found = _list(asked, vectors, trace.prompt_tokens)
    except BaseException as error:
        end(request, trace, error)
        raise
    trace.answer = {"object": "list", "vectors": len(vectors), "width": len(vectors[0])}
    end(request, trace)
    return JSONResponse(found)


async def _embed(request: Request, model: Model, rows: list[list[int]]) -> list[list[float]]:
    async with request.app.state.deck.line(model).place():
        return await model.engine.embed(rows)


def _list(asked: EmbeddingRequest, vectors: list[list[float]], tokens: int) -> Mapping[str, Any]:
    asked.check_width(len(vectors[0]))
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if asked.base64 else vector}
        for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": asked.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}  # fmt: skip


def _packed(vector: list[float]) -> str:
    """Little-endian float32 numbers, in base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
