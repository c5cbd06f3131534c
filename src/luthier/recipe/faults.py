"""What is wrong with a recipe, in words that say where and how to mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from luthier.errors import RecipeError
from luthier.recipe.accepts import (
    Key,
    annotation,
    choices,
    dotted,
    either,
    every_key,
    fields,
    is_list,
    is_number,
    is_text,
    part_at,
    words,
)
from luthier.recipe.foreign import KEYS, VALUES

SHOWN = 5
"""Faults told at once; the rest are counted."""
MISSING = {
    "base_model": "Write a folder, a hub id or a packaged model, such as `base_model: smollm2-135m-instruct`",
    "data": "Write a path, such as `data: tickets.jsonl`",
    "path": "Write the file or folder of this entry, such as `path: tickets.jsonl`",
}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: at which key, what, and how to mend it."""

    key: Key
    what: str
    mend: str = ""


def no_effect(key: Key, needs: str) -> Fault:
    """A key that nothing reads without what it `needs`."""
    return Fault(key, f"`{dotted(key)}` has no effect without {needs}", "Leave it out, or change the other")


def refuse(faults: Sequence[Fault], where: str, places: Mapping[Key, str]) -> NoReturn:
    """Raise one RecipeError that tells the first few faults, each with its place (`line 7`) if known."""
    if len(faults) == 1:
        place = _place(faults[0].key, places)
        raise RecipeError(faults[0].what, ", ".join(filter(None, [where, place])), faults[0].mend)
    order = {place: number for number, place in enumerate(places.values())}
    faults = sorted(faults, key=lambda fault: order.get(_place(fault.key, places), -1))
    told = [f"({number}) {_told(fault, places)}" for number, fault in enumerate(faults[:SHOWN], 1)]
    more = [f"And {len(faults) - SHOWN} more."] if len(faults) > SHOWN else []
    raise RecipeError(f"{len(faults)} faults. {' '.join(told + more)}", where)


def _told(fault: Fault, places: Mapping[Key, str]) -> str:
    place = _place(fault.key, places)
    return str(RecipeError(fault.what, place, fault.mend))


def _place(key: Key, places: Mapping[Key, str]) -> str:
    known = (places[key[:length]] for length in range(len(key), 0, -1) if key[:length] in places)
    return next(known, "")


def faults_of(error: ValidationError, plain: Mapping[str, Any]) -> list[Fault]:
    """The faults that pydantic found in `plain` (short forms written out), one per key, in its order."""
    found: dict[Key, Fault] = {}
    for item in error.errors(include_url=False):
        key, value = _locate(item["loc"], plain)
        if item["type"] == "missing":
            name = str(item["loc"][-1])
            found.setdefault((*key, name), Fault((*key, name), f"`{dotted((*key, name))}` is missing", MISSING[name]))
        else:
            found.setdefault(key, wrong_value(key, value) if annotation(key) else unknown_key(key))
    return [
        fault
        for key, fault in found.items()
        if not any(key == other[: len(key)] for other in found if other != key) and not _told_already(fault, found)
    ]


def _told_already(fault: Fault, found: Mapping[Key, Fault]) -> bool:
    """Whether a key is missing because another tool's key stands in its place."""
    missing = fault.what == f"`{dotted(fault.key)}` is missing"
    return missing and any(other.mend.startswith(f"Write `{dotted(fault.key)}`:") for other in found.values())


def _locate(loc: tuple[int | str, ...], plain: Any) -> tuple[Key, Any]:
    """The key and value that pydantic's location means; its names for members of a union are passed over."""
    key: list[int | str] = []
    for part in loc:
        inside = (
            part in plain if isinstance(plain, Mapping) else isinstance(plain, (list, tuple)) and isinstance(part, int)
        )
        if inside:
            key.append(part)
            plain = plain[part]
    return tuple(key), plain


def unknown_key(key: Key) -> Fault:
    """What to say of a key that is not there: another tool's, at the wrong level, or a slip of the pen."""
    section, name = part_at(key[:-1]), str(key[-1])
    siblings = list(fields(section)) if section else []
    flat = name.lower().replace("-", "_")
    advice = KEYS.get(flat)
    if advice:
        mend = advice[0].upper() + advice[1:]
    elif "." in name and annotation(tuple(name.split("."))):
        parent, _, leaf = name.rpartition(".")
        mend = f"Write `{leaf}:` below `{parent}:`"
    elif flat in _everywhere():
        mend = f"Write {either([f'`{place}`' for place in _everywhere()[flat]])}"
    else:
        mend = _nearest(flat, key[:-1], siblings)
    return Fault(key, f"`{dotted(key)}` is not a key of Luthier", mend)


def _nearest(name: str, parent: Key, siblings: Sequence[str]) -> str:
    near = [dotted((*parent, match)) for match in get_close_matches(name, siblings, 2)]
    far = [place for match in get_close_matches(name, list(_everywhere()), 1) for place in _everywhere()[match]]
    if near or far:
        return f"Did you mean {either([f'`{place}`' for place in near or far])}?"
    return f"The keys here are {either([f'`{sibling}`' for sibling in siblings]).replace(' or ', ' and ')}"


@cache
def _everywhere() -> dict[str, list[str]]:
    """Own name of a key or section -> the dotted places where it stands."""
    places: dict[str, list[str]] = {}
    for key, _, name in every_key():
        places.setdefault(name, []).append(dotted(key))
    for section in fields(part_at(()) or type):
        places.setdefault(section, [section])
    return places


def wrong_value(key: Key, value: Any) -> Fault:
    """What to say of a value that its key does not take."""
    hint = annotation(key)
    is_now = "is empty" if value in (None, "", [], (), {}) else f"is {_shown(value)}"
    return Fault(key, f"`{dotted(key)}` {is_now}, but takes {words(hint)}", _mend_value(key, value, hint))


def _mend_value(key: Key, value: Any, hint: Any) -> str:
    generic = dotted(tuple(0 if isinstance(part, int) else part for part in key))
    options = choices(hint)
    if key[0] == "data" and len(key) < 3:
        return MISSING["data"]
    if value in (None, "") and key[-1] in MISSING:
        return MISSING[str(key[-1])]
    if isinstance(value, (int, float)):
        quoted = is_text(hint) and not isinstance(value, bool) and _taken(hint, str(value))
        return "Put it in quotes" if quoted else ""
    if not isinstance(value, str):
        return ""
    advice = VALUES.get((generic, value.lower()))
    if advice:
        return advice[0].upper() + advice[1:]
    if is_number(hint) and _is_numeric(value):
        return "Remove the quotes"
    if is_list(hint) and value not in options:
        return f"Write a list: `[{value}]`"
    near = get_close_matches(value.lower(), options, 1)
    return f"Did you mean `{near[0]}`?" if near else ""


def _taken(hint: Any, value: Any) -> bool:
    try:
        TypeAdapter(hint).validate_python(value)
    except ValidationError:
        return False
    return True


def _is_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text[:37]}…`" if len(text) > 40 else f"`{text}`"
