"""A server under more load than it can carry, and one whose engine is killed again and again.

    python bench/siege.py [--only load chaos] [--seconds 300 120] [--model NAME] [--engine NAME] [--models FOLDER]

load    32 clients at a server that takes 16 requests at a time and lets none wait, for five minutes: every reply is an
        answer or a 429 that says when to come back; who comes back then is answered; memory does not grow
chaos   8 clients, and every 20 seconds a SIGKILL to the engine, for two minutes: every request is answered, and every
        answer is in the trace table

Each starts a server of its own on 127.0.0.1. Prints a verdict and writes bench/results/siege.json; exit code 1 where
something does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psutil
from harness.clients import body_of, question
from harness.output import read_result, write_result
from harness.service import MODEL, Service, home_of, serving
from harness.turns import progress

CLIENTS, PLACES, TOKENS = 32, 16, 12
CHAOS_CLIENTS, KILL_SECONDS = 8, 20.0
MOST_TRIES = 30
"""Of one request; who is refused so often was not told the truth about when to come back."""
SETTLING = 0.4
"""Of the time, in which memory may still grow: caches fill."""
GROWTH = 0.03
"""Of the memory, that it may grow by over the rest of the time."""
Checks = dict[str, bool]


@dataclass
class Seen:
    """All that clients were told."""

    statuses: Counter[int] = field(default_factory=Counter)
    tries: list[int] = field(default_factory=list)
    """Of each request that was answered."""
    given_up: int = 0
    without_time: int = 0
    """429s that do not say when to come back."""
    broken: list[str] = field(default_factory=list)
    """Connections that ended without a reply, and bodies of replies that are no answer."""
    ids: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """Of each answer, from the try that was answered."""


def main() -> int:
    """Do what was asked for; 1 where something does not hold."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", nargs="+", choices=list(SIEGES), default=list(SIEGES))
    options.add_argument("--seconds", nargs="+", type=float, default=[300.0, 120.0], help="of load and of chaos")
    options.add_argument("--model", default=MODEL)
    options.add_argument("--engine", default="")
    options.add_argument("--models", type=Path, help="a folder in which the converted base is kept")
    asked = options.parse_args()
    result, well = read_result("siege"), True
    for name in asked.only:
        seconds = asked.seconds[min(len(asked.seconds) - 1, list(SIEGES).index(name))]
        with home_of(asked.models) as home:
            found = SIEGES[name](home, asked.model, ["--engine", asked.engine] if asked.engine else [], seconds)
        result[name] = {"model": asked.model, "engine": asked.engine or "auto", "seconds": seconds, **found}
        write_result("siege", result)
        well &= tell(name, found)
    return 0 if well else 1


def tell(name: str, found: dict[str, Any]) -> bool:
    """Print what was found and whether it holds."""
    print(name)
    for key, value in found.items():
        if key not in ("checks", "samples"):
            print(f"  {key.replace('_', ' '):32} {value}")
    for what, holds in found["checks"].items():
        print(f"  {'holds' if holds else 'FAILS':8} {what}")
    return all(found["checks"].values())


def load(home: Path, model: str, options: list[str], seconds: float) -> dict[str, Any]:
    """Twice as many clients as the server takes."""
    seen, samples = Seen(), []
    with serving(home, model, "--queue", "0", *options, places=PLACES) as service:
        asyncio.run(besiege(service, model, CLIENTS, seconds, seen, lambda: watch(service, samples, seconds)))
    growth = {name: grown(samples, name) for name in ("gateway", "engine")}
    refused = sum(number - 1 for number in seen.tries)
    return {
        **summary(seen), "refused": refused, "answered_when_they_came_back":
            sum(1 for number in seen.tries if number == 2) / max(1, sum(1 for number in seen.tries if number > 1)),
        "memory_growth": growth, "samples": samples[::20],
        "checks": {
            **common(seen), "some were refused": refused > 0,
            "every 429 says when to come back": seen.without_time == 0,
            "who came back was answered": seen.given_up == 0,
            f"memory grows by less than {GROWTH:.0%}": all(value < GROWTH for value in growth.values()),
        },
    }  # fmt: skip


def chaos(home: Path, model: str, options: list[str], seconds: float) -> dict[str, Any]:
    """An engine that is killed every `KILL_SECONDS`."""
    from luthier.store import Home, traces

    seen, kills = Seen(), []
    with serving(home, model, *options) as service:
        asyncio.run(besiege(service, model, CHAOS_CLIENTS, seconds, seen, lambda: kill(service, kills, seconds)))
    kept = {row.id: row.status for row in traces.newest(Home(home), 1_000_000)}
    missing = [id for id in seen.ids if id not in kept]
    return {
        **summary(seen), "kills": len(kills), "traces": len(kept), "answers_without_a_trace": len(missing),
        "examples_of_these": missing[:3], "longest_answer_seconds": max(seen.seconds, default=0.0),
        "checks": {
            **common(seen), "the engine was killed": len(kills) >= round(seconds / KILL_SECONDS) - 2 > 0,
            "no request was lost": set(seen.statuses) <= {200, 429} and seen.given_up == 0,
            "every answer is in the trace table": not missing,
            "no two answers have one id": len(set(seen.ids)) == len(seen.ids),
        },
    }  # fmt: skip


def summary(seen: Seen) -> dict[str, Any]:
    """Counts for people."""
    return {
        "statuses": dict(seen.statuses), "answered": len(seen.ids), "given_up": seen.given_up,
        "broken": Counter(seen.broken).most_common(5), "seconds_p50": statistics.median(seen.seconds or [0.0]),
    }  # fmt: skip


def common(seen: Seen) -> Checks:
    """What must hold under any load."""
    return {
        "there were answers": len(seen.ids) > 0,
        "no reply was an error of the server": not any(status >= 500 for status in seen.statuses),
        "every request had a reply": not seen.broken,
    }


async def besiege(
    service: Service, model: str, clients: int, seconds: float, seen: Seen, beside: Callable[[], Awaitable[None]]
) -> None:
    """So many clients, each asking one question after the other until the time is over; what was begun is finished."""
    numbers, end = count(), time.monotonic() + seconds
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(timeout=180, limits=limits) as http:

        async def client() -> None:
            while time.monotonic() < end:
                await ask(http, service.url, body_of(model, question(next(numbers)), TOKENS), seen)

        watching = asyncio.ensure_future(beside())
        await asyncio.gather(*(client() for _ in range(clients)))
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def ask(http: httpx.AsyncClient, url: str, body: dict[str, Any], seen: Seen) -> None:
    """One request, repeated as the server says until it is answered."""
    for number in range(1, MOST_TRIES + 1):
        start = time.perf_counter()
        try:
            reply = await http.post(f"{url}/chat/completions", json=body)
        except httpx.HTTPError as error:
            seen.broken.append(type(error).__name__)
            return
        seen.statuses[reply.status_code] += 1
        if reply.status_code == 200:
            take(reply, number, time.perf_counter() - start, seen)
        if reply.status_code != 429:
            return
        told = reply.headers.get("retry-after-ms"), reply.headers.get("retry-after")
        seen.without_time += told == (None, None)
        await asyncio.sleep(float(told[0]) / 1000 if told[0] else float(told[1] or 1))
    seen.given_up += 1


def take(reply: httpx.Response, tries: int, seconds: float, seen: Seen) -> None:
    """An answer must have an id, a text and an end."""
    found = reply.json()
    choice = found["choices"][0]
    if not choice["message"]["content"] or choice["finish_reason"] not in ("stop", "length"):
        seen.broken.append(f"no answer: {choice}"[:200])
    seen.ids.append(found["id"])
    seen.tries.append(tries)
    seen.seconds.append(seconds)


async def watch(service: Service, samples: list[dict[str, float]], seconds: float) -> None:
    """The memory of both processes, every second."""
    start = time.monotonic()
    while True:
        with suppress(psutil.Error):
            engines = sum(engine.memory_info().rss for engine in service.engines())
            samples.append({"second": round(time.monotonic() - start, 1),
                            "gateway": service.process.memory_info().rss, "engine": engines})  # fmt: skip
            if len(samples) % 20 == 0:
                last = samples[-1]
                progress(f"{last['second']:.0f} of {seconds:.0f} s: gateway {last['gateway'] / 1e6:.0f} MB, "
                         f"engine {last['engine'] / 1e6:.0f} MB")  # fmt: skip
        await asyncio.sleep(1)


async def kill(service: Service, kills: list[float], seconds: float) -> None:
    """SIGKILL to the engine, again and again until the time is over."""
    start = time.monotonic()
    while time.monotonic() - start + KILL_SECONDS < seconds:
        await asyncio.sleep(KILL_SECONDS)
        for engine in service.engines():
            engine.send_signal(signal.SIGKILL)
            kills.append(time.monotonic() - start)
        progress(f"{time.monotonic() - start:.0f} of {seconds:.0f} s: {len(kills)} kills")


def grown(samples: list[dict[str, float]], name: str) -> float:
    """By which share of itself a memory grew over the settled part of the time: the slope of a line through it."""
    settled = samples[int(len(samples) * SETTLING) :]
    if len(settled) < 3:
        return 0.0
    line = statistics.linear_regression([s["second"] for s in settled], [s[name] for s in settled])
    return line.slope * (settled[-1]["second"] - settled[0]["second"]) / statistics.mean(s[name] for s in settled)


SIEGES: dict[str, Callable[[Path, str, list[str], float], dict[str, Any]]] = {"load": load, "chaos": chaos}


if __name__ == "__main__":
    sys.exit(main())
