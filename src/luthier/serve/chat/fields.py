"""Taking one parameter out of a request body, with an error that names it and says what it should be.

A parameter that is absent or null is None.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from luthier.data.sources.formats.cells import describe
from luthier.serve.refusals import BadRequest

Body = Mapping[str, Any]


def wrong(param: str, value: Any, expected: str) -> BadRequest:
    return BadRequest(f"`{param}` must be {expected}, and is {describe(value)}", param)


@contextmanager
def inside(at: str) -> Iterator[None]:
    """Errors of what is read within name `at.parameter` in place of `parameter`."""
    try:
        yield
    except BadRequest as error:
        param = f"{at}.{error.param}"
        raise BadRequest(error.message.replace(f"`{error.param}`", f"`{param}`", 1), param, error.code) from None


def number(body: Body, name: str, low: float, high: float) -> float | None:
    """A number from `low` to `high`; NaN is none."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not low <= value <= high:
        raise wrong(name, value, f"a number from {low:g} to {high:g}")
    return float(value)


def integer(body: Body, name: str, low: int, high: int) -> int | None:
    """A whole number from `low` to `high`; 3.0 is one."""
    value = body.get(name)
    if value is None:
        return None
    whole = type(value) is int or (type(value) is float and math.isfinite(value) and value.is_integer())
    if not whole or not low <= value <= high:
        raise wrong(name, value, f"a whole number from {low} to {high}")
    return int(value)


def boolean(body: Body, name: str) -> bool | None:
    value = body.get(name)
    if value is not None and type(value) is not bool:
        raise wrong(name, value, "true or false")
    return value


def text(body: Body, name: str, longest: int | None = None) -> str | None:
    """Text of at most `longest` characters."""
    value = body.get(name)
    if value is not None and (type(value) is not str or (longest is not None and len(value) > longest)):
        raise wrong(name, value, "text" if longest is None else f"text of at most {longest} characters")
    return value


def mapping(body: Body, name: str) -> dict[str, Any] | None:
    value = body.get(name)
    if value is not None and type(value) is not dict:
        raise wrong(name, value, "an object")
    return value


def listing(body: Body, name: str) -> list[Any] | None:
    value = body.get(name)
    if value is not None and type(value) is not list:
        raise wrong(name, value, "a list")
    return value


def choice(body: Body, name: str, known: Iterable[str]) -> str | None:
    """One of the texts `known`."""
    value = body.get(name)
    if value is not None and (type(value) is not str or value not in known):
        raise wrong(name, value, "one of " + ", ".join(known))
    return value


def required(value: Any, param: str, expected: str) -> Any:
    if value is None:
        raise BadRequest(f"`{param}` is missing: it must be {expected}", param)
    return value
