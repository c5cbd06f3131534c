"""Whether the server lives, and what Prometheus reads."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

router = APIRouter(tags=["health"])


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """`ok`, or `degraded` where an engine is not alive or traces were lost."""
    berths = list(request.app.state.deck.berths())
    engines = [{"engine": berth.spec["engine"], "model": berth.spec["name"], "alive": berth.remote.alive,
                "waiting": berth.line.waiting} for berth in berths]  # fmt: skip
    lost = request.app.state.tracer.lost
    well = not lost and all(berth.remote.alive for berth in berths)
    return {"status": "ok" if well else "degraded", "engines": engines, "traces_lost": lost}


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counters in the text format of Prometheus."""
    return Response(await asyncio.to_thread(request.app.state.measures.text), media_type=CONTENT_TYPE_LATEST)
