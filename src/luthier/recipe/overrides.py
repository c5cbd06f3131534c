"""Options that change a recipe: `--set train.learning_rate=1e-4`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luthier.errors import RecipeError
from luthier.recipe.accepts import Key, dotted
from luthier.recipe.document import parse_value
from luthier.recipe.shorthand import expand

Override = tuple[Key, Any]


def parse_overrides(settings: Sequence[str]) -> list[Override]:
    """`["data.0.path=a.jsonl", "train.seed=1"]` as keys and values; a value is read as YAML reads it.

    Raises RecipeError for a setting without `=` or without a key, and for a value that is not YAML.
    """
    return [_parse(setting) for setting in settings]


def _parse(setting: str) -> Override:
    name, equals, text = setting.partition("=")
    parts = name.strip().split(".")
    where = f"--set {setting}"
    if not equals or not all(parts):
        raise RecipeError("this is not a setting", where, "Write it as `--set train.learning_rate=1e-4`")
    try:
        value = parse_value(text, where)
    except RecipeError:
        raise RecipeError("its value is not YAML", where, "Put the value in quotes") from None
    return tuple(int(part) if part.isdecimal() else part for part in parts), value


def apply(given: dict[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """A copy of the mapping, short forms written out, with each value set; a list grows by one at its end.

    Raises RecipeError for a key that leads through a value that holds no keys.
    """
    full: Any = expand(given)
    for key, value in overrides:
        full = expand(_with(full, key, value, key))
    return full


def _with(here: Any, key: Key, value: Any, whole: Key) -> Any:
    """`here` with `value` at `key`, everything else shared."""
    if not key:
        return value
    first, rest = key[0], key[1:]
    if isinstance(here, list) and isinstance(first, int) and first <= len(here):
        below = here[first] if first < len(here) else {}
        return [*here[:first], _with(below, rest, value, whole), *here[first + 1 :]]
    if isinstance(here, dict):
        below = here.get(str(first), {} if rest else None)
        return {**here, str(first): _with(below, rest, value, whole)}
    length = (
        f": its entries are numbered from 0, and there are {len(here)}"
        if isinstance(here, list)
        else ", which holds no keys"
    )
    place = dotted(whole[: len(whole) - len(key)])
    raise RecipeError(f"`{first}` cannot be set below `{place}`{length}", f"--set {dotted(whole)}=…")
