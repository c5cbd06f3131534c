"""Luthier: fine-tune open models on your own hardware, and prove that they got better.

    luthier.load("recipe.yaml")      the recipe, checked
    luthier.run(…)                   fit, compare, decide, report: what `luthier run` does
    luthier.compare(…)               two runs, paired row by row

Each name is imported when it is first used, so that `import luthier` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PLACES = {
    "DataError": "luthier.errors",
    "EngineLost": "luthier.errors",
    "Home": "luthier.store",
    "LuthierError": "luthier.errors",
    "MissingExtra": "luthier.errors",
    "ModelError": "luthier.errors",
    "NotFound": "luthier.errors",
    "Recipe": "luthier.recipe.types",
    "RecipeError": "luthier.errors",
    "StoreError": "luthier.errors",
    "TrainingError": "luthier.errors",
    "check": "luthier.jobs.check",
    "compare": "luthier.jobs.compare",
    "load": "luthier.recipe.load",
    "run": "luthier.jobs.run",
    "train": "luthier.jobs.train",
}

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
