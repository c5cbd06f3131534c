"""JSON in a model's answer: finding it, and comparing it with the reference field by field."""

from __future__ import annotations

import json
from typing import Any

from luthier.evaluate.questions import normalise


def first_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in the text: from the first `{` at which a valid object starts to its `}`.

    What stands before or after it (code fences, explanations) is ignored. Strict JSON: no single quotes, comments,
    trailing commas or NaN. None where there is no object.
    """
    decoder = json.JSONDecoder(parse_constant=_refuse)
    start = text.find("{")
    while start >= 0:
        try:
            return decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
    return None


def fields_equal(reference: dict[str, Any], prediction: dict[str, Any] | None) -> dict[str, bool]:
    """For each field of the reference, whether the prediction has it with an equal value."""
    given = prediction or {}
    return {name: name in given and same(value, given[name]) for name, value in reference.items()}


def same(a: Any, b: Any) -> bool:
    """JSON equality: 1 equals 1.0 and not true; objects ignore key order; strings are normalised as in exact_match."""
    if isinstance(a, str) and isinstance(b, str):
        return normalise(a) == normalise(b)
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(value, b[name]) for name, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a is None and b is None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
