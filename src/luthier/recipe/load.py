"""Recipes from YAML files and mappings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from luthier.errors import RecipeError
from luthier.recipe import document
from luthier.recipe.accepts import Key
from luthier.recipe.faults import faults_of, refuse
from luthier.recipe.overrides import apply, parse_overrides
from luthier.recipe.rules import contradictions
from luthier.recipe.shorthand import expand
from luthier.recipe.types import Objective, Recipe
from luthier.recipe.values import STORED


class Loaded(NamedTuple):
    """A recipe, which says nothing of where it stood, and the folder that its relative paths start from."""

    recipe: Recipe
    base: Path


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Loaded:
    """Read a recipe file and set `overrides` (`train.seed=1`) in it.

    Raises RecipeError: the file cannot be read, is not YAML, has unknown, missing or repeated keys, wrong
    values, or settings that contradict each other. One error tells up to five faults, each with its line.
    """
    file = Path(path)
    given, lines = document.read(file)
    settings = parse_overrides(overrides)
    places: dict[Key, str] = {key: f"line {line}" for key, line in lines.items()}
    places.update({key: f"--set {setting}" for (key, _), setting in zip(settings, overrides, strict=True)})
    return Loaded(_recipe(apply(given, settings), str(path), places), file.resolve().parent)


def from_mapping(given: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """A recipe from plain values, short forms allowed; `where` is how an error names them.

    Raises RecipeError as `load` does, without lines.
    """
    if not isinstance(given, Mapping):
        raise RecipeError("it is not a mapping of keys to values", where, "Give at least `base_model` and `data`")
    return _recipe(expand(given), where, {})


def resolve_paths(recipe: Recipe, base: Path) -> Recipe:
    """The recipe with its relative paths made absolute, from the folder `base`.

    A `hub:`, `dataset:` or `scheme://` path is left alone, and so is a model that is no folder there. `~` is the
    user's folder.
    """
    teacher, template = recipe.objective.teacher, recipe.chat_template
    objective = recipe.objective.model_copy(update={"teacher": teacher and _model(teacher, base)})
    return recipe.model_copy(
        update={
            "data": tuple(e.model_copy(update={"path": _absolute(e.path, base)}) for e in recipe.data),
            "base_model": _model(recipe.base_model, base),
            "chat_template": template and _absolute(template, base),
            "objective": _rewarded(objective, base),
        }
    )


def _model(name: str, base: Path) -> str:
    folder = base / Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name


def _rewarded(objective: Objective, base: Path) -> Objective:
    """The objective with an absolute path in a reward that is a function of a file."""
    file, colon, name = objective.reward.rpartition(":")
    if not file.endswith(".py"):
        return objective
    return objective.model_copy(update={"reward": _absolute(file, base) + colon + name})


def _absolute(path: str, base: Path) -> str:
    return (
        path
        if path.startswith(("hub:", STORED)) or "://" in path
        else os.path.normpath(base.resolve() / os.path.expanduser(path))
    )


def _recipe(full: dict[str, Any], where: str, places: Mapping[Key, str]) -> Recipe:
    try:
        recipe = Recipe.model_validate(full)
    except ValidationError as error:
        refuse(faults_of(error, full), where, places)
    faults = list(contradictions(recipe))
    if faults:
        refuse(faults, where, places)
    return recipe
