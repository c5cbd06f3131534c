"""What an answer earns: a scorer of the evaluation, or the user's own function."""

from __future__ import annotations

import hashlib
import importlib
import math
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from luthier.data.example import Example
from luthier.errors import RecipeError, TrainingError
from luthier.evaluate.scorers import SCORERS, Mark
from luthier.evaluate.scores import Answer

Reward = Callable[[str, Example], float]
"""(the answer, the row it answers) → what it earns."""
KEY = "objective.reward"
SCORED_BY = ("exact_match", "json_match")
FORMS = f"Write {', '.join(f'`{name}`' for name in SCORED_BY)}, `module:function` or `file.py:function`"


def reward_of(name: str) -> Reward:
    """The reward that a recipe names; a function is called as `function(answer, example)` and returns a number.

    Raises RecipeError where it cannot be found, and where loading its module or file fails.
    """
    if name in SCORED_BY:
        return lambda text, row: _scored(name, text, row)
    place, colon, function = name.rpartition(":")
    if not colon or not place:
        raise RecipeError(f"`{name}` is no reward", KEY, FORMS)
    try:
        found = _names_in(place)[function]
    except KeyError:
        raise RecipeError(
            f"{place} has no `{function}`", KEY, "Define it there: `def reward(answer, example)`"
        ) from None
    except Exception as error:
        raise RecipeError(f"{place} cannot be loaded: {error!r}", KEY, FORMS) from error
    if not callable(found):
        raise RecipeError(f"`{function}` in {place} is no function", KEY, FORMS)
    return lambda text, row: _number(found(text, row), name, row)


def source_sha256(name: str) -> str:
    """The hash of the file that a reward comes from; of its name, where it is no file."""
    place = Path(name.rpartition(":")[0])
    return hashlib.sha256(place.read_bytes() if place.suffix == ".py" else name.encode()).hexdigest()


def _scored(metric: str, text: str, row: Example) -> float:
    mark = SCORERS[metric](row, Answer(text=text))
    if isinstance(mark, Mark):
        return mark.score
    raise TrainingError(
        f"`{metric}` cannot score the row: {mark.reason}", row.row_id, "Choose a reward that fits the data"
    )


def _number(value: Any, name: str, row: Example) -> float:
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    raise TrainingError(
        f"`{name}` returned {value!r}, which is no finite number", row.row_id, "Return 0.0 to 1.0, or so"
    )


def _names_in(place: str) -> dict[str, Any]:
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise RecipeError(f"there is no file {place}", KEY, "Relative paths are taken from the recipe's folder")
        return runpy.run_path(place, run_name="reward")
    return vars(importlib.import_module(place))
