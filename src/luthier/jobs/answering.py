"""How fast models answer here, measured: a short answer by the engine that would serve each, alone and among eight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import LuthierError
from luthier.jobs.deploy import open_deck
from luthier.serve.deck import Deck
from luthier.serve.engines.engine import Ask
from luthier.serve.model import Model
from luthier.store import Home

QUESTION = "Tell a long story about a lighthouse."
TOKENS, TOGETHER = 32, 8
ROWS = 64
"""Texts that an encoder reads for its vectors."""


@dataclass(frozen=True)
class Answering:
    """What serving a model takes here."""

    model: str
    engine: str
    memory_bytes: int
    """Of the engine's process, with all that it holds so far."""
    tokens_per_second: float
    """Of one answer; of the texts that an encoder reads."""
    together_tokens_per_second: float | None
    """Of eight answers at once."""


def measured(home: Home, names: Sequence[str], note: Callable[[str], None]) -> tuple[list[Answering], dict[str, str]]:
    """Each model that can be served, and of the others why not."""
    return asyncio.run(_measured(home, names, note))


async def _measured(
    home: Home, names: Sequence[str], note: Callable[[str], None]
) -> tuple[list[Answering], dict[str, str]]:
    folders = [name for name in names if Path(name).is_dir()]
    deck = open_deck(home, more=folders, engine=None, waiting=TOGETHER, note=note)
    found, refused = [], {}
    try:
        for name in names:
            note(f"measuring {name}")
            try:
                found.append(await _one(deck, name))
            except LuthierError as error:
                refused[name] = error.what
    finally:
        await deck.close()
    return found, refused


async def _one(deck: Deck, name: str) -> Answering:
    model = await deck.open(name)
    read = model.kind == "encoder"
    alone = await (_reading(model) if read else _writing(model, 1))
    together = None if read else await _writing(model, TOGETHER)
    return Answering(name, model.engine_name, model.engine.rss_bytes, alone, together)


async def _writing(model: Model, count: int) -> float:
    """Tokens a second of so many answers at once, after a short one that warms up."""
    prompt = model.renderer.prompt([{"role": "user", "content": QUESTION}] if model.renderer.chats else QUESTION)
    await model.engine.complete(Ask("", prompt, 4, adapter=model.adapter))
    asks = [Ask("", prompt, TOKENS, adapter=model.adapter, seed=number) for number in range(count)]
    start = time.perf_counter()
    answers = await asyncio.gather(*map(model.engine.complete, asks))
    if wrong := next((answer.error for answer in answers if answer.finish == "error"), ""):
        raise LuthierError(wrong)
    return sum(len(answer.tokens) for answer in answers) / (time.perf_counter() - start)


async def _reading(model: Model) -> float:
    rows = [model.renderer.encode(f"{number}: {QUESTION}", special=True) for number in range(ROWS)]
    await model.engine.embed(rows[:1])
    start = time.perf_counter()
    await model.engine.embed(rows)
    return sum(map(len, rows)) / (time.perf_counter() - start)
