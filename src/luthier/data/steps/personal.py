"""Replace what looks personal or secret in what rows say, or drop the rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from luthier.data.example import Example
from luthier.data.personal import without_personal
from luthier.data.steps.reject import Reject

STEP = "personal"
WHY = "looks personal or secret"
FIELDS = ("messages", "text", "prompt", "completion", "chosen", "rejected")


def personal(examples: Sequence[Example], how: Literal["redact", "drop"]) -> tuple[list[Example], list[Reject]]:
    """Rows in which nothing is found stay the objects that they were."""
    kept, rejects = [], []
    for example in examples:
        clean = cleaned(example)
        if clean is example or how == "redact":
            kept.append(clean)
        else:
            rejects.append(Reject(example, STEP, WHY, WHY))
    return kept, rejects


def cleaned(example: Example) -> Example:
    """The row without it; the row itself where there is none."""
    said = {name: value for name in FIELDS if (value := getattr(example, name)) is not None}
    clean = {name: _without(value) for name, value in said.items()}
    return example if clean == said else replace(example, **clean)


def _without(said: str | Sequence[Mapping[str, Any]]) -> Any:
    return without_personal(said) if isinstance(said, str) else tuple(_turn(turn) for turn in said)


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(turn)
    if isinstance(turn.get("content"), str):
        found["content"] = without_personal(turn["content"])
    if turn.get("tool_calls"):
        found["tool_calls"] = type(turn["tool_calls"])(_call(call) for call in turn["tool_calls"])
    return found


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call whose arguments, JSON in a text, stay JSON, and as they are written where nothing is found."""
    try:
        before = json.loads(call["function"]["arguments"])
    except ValueError:
        clean = without_personal(call["function"]["arguments"])
    else:
        after = _value(before)
        clean = call["function"]["arguments"] if after == before else json.dumps(after, ensure_ascii=False)
    return {**call, "function": {**call["function"], "arguments": clean}}


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return without_personal(value)
    if isinstance(value, dict):
        return {key: _value(item) for key, item in value.items()}
    return [_value(item) for item in value] if isinstance(value, list) else value
