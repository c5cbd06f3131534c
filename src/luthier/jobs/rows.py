"""Rendering as a run needs it: one set of settings, a cache, and messages for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from luthier.data.example import Example
from luthier.data.render import Renderer, render_cached
from luthier.data.rendered import Rendered
from luthier.recipe import Recipe


@dataclass(frozen=True)
class Rendering:
    """What decides token ids and weights, besides tokenizer and template."""

    sequence_len: int | None
    truncation: Literal["error", "drop", "right"]
    train_on: Literal["assistant", "last", "all"]
    objective: Literal["sft", "pretrain", "classify"]


def rendering_of(recipe: Recipe, sequence_len: int | None) -> Rendering:
    """The recipe's settings, with rows of any length where `sequence_len` is None."""
    train = recipe.train
    return Rendering(sequence_len, train.truncation, train.train_on, recipe.objective.type)


def render_split(
    renderer: Renderer, rows: Sequence[Example], cache: Path, settings: Rendering, note: Callable[[str], None]
) -> Rendered:
    """Token ids and weights of the rows, from the cache where they were rendered before."""
    return render_cached(renderer, rows, cache, **vars(settings))
