"""GET /v1/models."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request

from luthier.api.reading import ERRORS
from luthier.serve import routing
from luthier.serve.refusals import Forbidden

router = APIRouter(tags=["models"])


@router.get("/v1/models")
async def show_all(request: Request) -> dict[str, Any]:
    """Every name that can be asked for: base models, versions, aliases, results of jobs."""
    state = request.app.state
    names = await asyncio.to_thread(lambda: routing.names(state.home, state.deck.routes.bases()))
    return {"object": "list", "data": [_entry(name, at) for name, at in names.items()]}


@router.get("/v1/models/{model:path}", responses=ERRORS)
async def show_one(request: Request, model: str) -> dict[str, Any]:
    """One model, by any of its names; `luthier_version` says which version that is now."""
    route = await request.app.state.deck.routes.of(model, request.scope["state"]["stamp"])
    return _entry(model, route.version.created_at if route.version else "") | {"luthier_version": route.ref}


@router.delete("/v1/models/{model:path}", responses=ERRORS)
async def delete(request: Request, model: str) -> None:
    """Versions are evidence: answers and reports point at them, so they are not deleted over HTTP."""
    await request.app.state.deck.routes.of(model, request.scope["state"]["stamp"])
    raise Forbidden("models are not deleted over HTTP: answers in production point back at them. "
                    "`luthier models promote` moves an alias to another version", "model", "cannot_delete")  # fmt: skip


def _entry(name: str, created_at: str) -> dict[str, Any]:
    created = int(datetime.fromisoformat(created_at).timestamp()) if created_at else 0
    return {"id": name, "object": "model", "created": created, "owned_by": "luthier"}
