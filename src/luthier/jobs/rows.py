"""Rendering as a run needs it: one set of settings, a cache, and messages for people."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from luthier.data.example import Example
from luthier.data.pairs import as_rows, rejoin
from luthier.data.render import Renderer, render_cached
from luthier.data.rendered import Rendered
from luthier.recipe import BESIDE, ON_POLICY, PAIRED, Recipe

SECONDS_BETWEEN_NOTES = 2


@dataclass(frozen=True)
class Rendering:
    """What decides token ids and weights, besides tokenizer and template."""

    sequence_len: int | None
    truncation: Literal["error", "drop", "right"]
    train_on: Literal["assistant", "last", "all"]
    objective: Literal["sft", "pretrain", "classify", "dpo", "reward"]


def rendering_of(recipe: Recipe, sequence_len: int | None, split: str = "train") -> Rendering:
    """The recipe's settings for a split, with rows of any length where `sequence_len` is None."""
    train = recipe.train
    if split in BESIDE.values():
        return Rendering(sequence_len, train.truncation, "all", recipe.objective.beside_type)
    return Rendering(sequence_len, train.truncation, train.train_on, form_of(recipe))


def form_of(recipe: Recipe) -> Literal["sft", "pretrain", "classify", "dpo", "reward"]:
    """What rows are rendered as: those that a teacher reads, and references of answers that are sampled, as answers."""
    return "sft" if recipe.objective.type in ("distill", *ON_POLICY) else recipe.objective.type  # type: ignore[return-value]


def render_split(
    renderer: Renderer, rows: Sequence[Example], cache: Path, settings: Rendering, note: Callable[[str], None]
) -> Rendered:
    """Token ids and weights of the rows, from the cache where they were rendered before; `note` hears how far it is.

    Preference pairs become two rows each: answers as for `sft`, or, where a `reward` is learnt by a model without a
    chat template, plain text.
    """
    if settings.objective not in PAIRED:
        return _rendered(renderer, rows, cache, settings, note)
    as_text = settings.objective == "reward" and not renderer.chats
    both = [row for pair in rows for row in as_rows(pair, as_text)]
    plain = replace(settings, objective="classify" if as_text else "sft")
    return rejoin(_rendered(renderer, both, cache, plain, note), rows)


def _rendered(
    renderer: Renderer, rows: Sequence[Example], cache: Path, settings: Rendering, note: Callable[[str], None]
) -> Rendered:
    found = render_cached(renderer, rows, cache, progress=_every_while(note), **vars(settings))
    if renderer.quick_differs:
        note("fastokens gives some rows other ids than tokenizers does; the slower tokenizers was used")
    return found


def _every_while(note: Callable[[str], None]) -> Callable[[int, int], None]:
    last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_NOTES:
            last = time.monotonic()
            note(f"rows to tokens: {done:,} of {total:,}")

    return progress
