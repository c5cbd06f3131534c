"""What changed between two runs, and what it did to the scores."""

from __future__ import annotations

from typing import Any

import luthier.recipe as recipes
from luthier.recipe import Recipe
from luthier.store import Home, runs

MEASURED = ("machine.memory",)
"""Keys that `auto` fills with what happened to be free at that moment."""


def diff(home: Home, a: str, b: str) -> dict[str, Any]:
    """`{recipe: [(key, a, b)], data: {key: (a, b)}, scores: {metric: {a, b, delta}}}` of two runs.

    Scores are those of the tuned models. The difference is plain; `luthier compare` gives a paired one.
    """
    first, second = runs.get(home, a), runs.get(home, b)
    changed = recipes.diff(Recipe.model_validate(first.recipe), Recipe.model_validate(second.recipe))
    changed = [row for row in changed if row[0] not in MEASURED]
    left, right = first.document or {}, second.document or {}
    keys = ("dataset_version", "verdict", "model", "wall_seconds", "tokens_per_second", "peak_memory_bytes")
    return {
        "a": first.id, "b": second.id, "recipe": changed,
        "scores": _scores(left.get("tuned", {}), right.get("tuned", {})),
        "data": {key: (left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)},
    }  # fmt: skip


def _scores(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    both = [metric for metric in left if metric in right]
    return {
        metric: {
            "a": left[metric],
            "b": right[metric],
            "delta": right[metric]["value"] - left[metric]["value"],
        }
        for metric in both
    }
