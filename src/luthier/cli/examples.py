"""Examples and labels of a dataset, as people read them: long texts are cut, calls look like calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.cli.screen import facts, heading, table

LONG = 600
"""Characters of a text that are shown."""
LABELS = 20
SHOWN = ("text", "prompt", "completion", "chosen", "rejected", "label", "labels", "group", "weight")


def show_labels(labels: Mapping[str, int]) -> None:
    from luthier.evaluate.report.numbers import count

    if not labels:
        return
    heading(f"Labels ({count(len(labels))})")
    rows = [(brief(label, 60), count(n)) for label, n in list(labels.items())[:LABELS]]
    table(["label", "rows"], rows, right=["rows"])
    if len(labels) > LABELS:
        print(f"and {count(len(labels) - LABELS)} more; --json has them all")


def show_examples(examples: list[dict[str, Any]]) -> None:
    for example in examples:
        heading(example["row_id"])
        tools = ", ".join(tool["function"]["name"] for tool in example.get("tools", ()))
        said = [(turn["role"], spoken(turn)) for turn in example.get("messages", ())]
        fields = [(name, in_words(example[name])) for name in SHOWN if name in example]
        facts((f"  {name}", brief(text)) for name, text in [("tools", tools), *said, *fields] if text)


def spoken(turn: Mapping[str, Any]) -> str:
    """What a message says, and the calls that it makes."""
    calls = [f"{call['function']['name']}({call['function']['arguments']})" for call in turn.get("tool_calls", ())]
    return "\n".join(filter(None, [turn.get("content"), *calls]))


def in_words(value: Any) -> str:
    """A field of an example; an answer may be a text or messages."""
    if isinstance(value, list | tuple):
        return "\n".join(spoken(item) if isinstance(item, dict) else str(item) for item in value)
    return str(value)


def brief(text: str, most: int = LONG) -> str:
    from luthier.evaluate.report.numbers import count

    return text if len(text) <= most else f"{text[:most]}… ({count(len(text))} characters)"
