"""What each key of a recipe takes, read from the types and put into words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from luthier.recipe.types import Recipe
from luthier.recipe.values import Part, Takes

Key = tuple[str | int, ...]
"""A place in a recipe: `("data", 0, "path")`."""


def dotted(key: Key) -> str:
    """`data.0.path`."""
    return ".".join(map(str, key))


@cache
def fields(part: type[Part]) -> dict[str, Any]:
    """Field name -> annotation, with its bounds."""
    return {name: hint for name, hint in get_type_hints(part, include_extras=True).items() if name in part.model_fields}


def annotation(key: Key) -> Any:
    """The annotation at `key`; None where the recipe has no such key."""
    here: Any = Recipe
    for part in key:
        here = _below(here, part)
        if here is None:
            return None
    return here


def _below(here: Any, part: str | int) -> Any:
    for kind in _members(here):
        plain = _bare(kind)
        if isinstance(part, str) and isinstance(plain, type) and issubclass(plain, Part):
            return fields(plain).get(part)
        if isinstance(part, int) and get_origin(plain) is tuple:
            return get_args(plain)[0]
        if isinstance(part, str) and get_origin(plain) is dict:
            return get_args(plain)[1]
    return None


def part_at(key: Key) -> type[Part] | None:
    """The section whose keys stand below `key`, if there is one."""
    here = _bare(annotation(key)) if key else Recipe
    return here if isinstance(here, type) and issubclass(here, Part) else None


def every_key() -> Iterator[tuple[Key, type[Part], str]]:
    """All keys that hold a value: (key, its section, its field); a list's entries stand at index 0."""
    yield from _keys_of(Recipe, ())


def _keys_of(part: type[Part], prefix: Key) -> Iterator[tuple[Key, type[Part], str]]:
    for name in fields(part):
        for key in ((*prefix, name), (*prefix, name, 0)):
            below = part_at(key)
            if below:
                yield from _keys_of(below, key)
                break
        else:
            yield (*prefix, name), part, name


def choices(hint: Any) -> list[str]:
    """The words that may be written there: `["auto", "cpu", "cuda"]`; empty where no words are fixed."""
    found = (get_args(_bare(kind)) for kind in _members(hint) if get_origin(_bare(kind)) is Literal)
    return [str(value) for values in found for value in values]


def words(hint: Any) -> str:
    """What may be written there, such as "`auto` or a whole number above 0"."""
    named = [f"`{choice}`" for choice in choices(hint)]
    others = [_words_of(kind) for kind in _members(hint) if get_origin(_bare(kind)) is not Literal]
    return either([*named, *filter(None, others)])


def either(options: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join(filter(None, [", ".join(options[:-1]), *options[-1:]]))


def is_number(hint: Any) -> bool:
    """Whether a number may be written there."""
    return any(_bare(kind) in (int, float) for kind in _members(hint))


def is_text(hint: Any) -> bool:
    """Whether free text may be written there."""
    return any(_bare(kind) is str for kind in _members(hint))


def is_list(hint: Any) -> bool:
    """Whether a list may be written there."""
    return any(get_origin(_bare(kind)) is tuple for kind in _members(hint))


def _words_of(kind: Any) -> str:
    plain, marks = _bare(kind), list(_marks(kind))
    told = next((mark.words for mark in marks if isinstance(mark, Takes)), None)
    if told:
        return told
    if plain is NoneType:
        return ""
    if get_origin(plain) is tuple:
        return f"a list; an entry is {words(get_args(plain)[0])}"
    if get_origin(plain) is dict:
        return f"a mapping; a value is {words(get_args(plain)[1])}"
    if isinstance(plain, type) and issubclass(plain, Part):
        return f"a mapping with keys such as `{next(iter(fields(plain)))}`"
    return {bool: "`true` or `false`", str: "text"}.get(plain) or _number_words(plain, marks)


def _number_words(kind: type, marks: list[Any]) -> str:
    noun = "a whole number" if kind is int else "a number"
    bounds = [
        *(f"above {mark.gt}" for mark in marks if isinstance(mark, Gt)),
        *(f"of at least {mark.ge}" for mark in marks if isinstance(mark, Ge)),
        *(f"of at most {mark.le}" for mark in marks if isinstance(mark, Le)),
        *(f"below {mark.lt}" for mark in marks if isinstance(mark, Lt)),
    ]
    return f"{noun} {' and '.join(bounds)}".strip()


def _members(hint: Any) -> list[Any]:
    """The alternatives of a union, or the one there is."""
    return list(get_args(hint)) if get_origin(hint) in (Union, UnionType) else [hint]


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _marks(hint: Any) -> Iterator[Any]:
    for mark in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        yield from mark.metadata if isinstance(mark, FieldInfo) else (mark,)
