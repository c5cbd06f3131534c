"""What was asked and what is right, from any kind of example."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.data.example import Example
from luthier.evaluate.questions import asked, reference_labels, shown

CHAT = Example("f:1", messages=(
    {"role": "system", "content": "be brief"}, {"role": "user", "content": "one"},
    {"role": "assistant", "content": None},
    {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "image_url"}]},
    {"role": "assistant", "content": "  yes\n"},
))  # fmt: skip


def test_asked_is_without_the_system_message() -> None:
    assert asked(CHAT) == "one\n\ntwo"
    assert asked(Example("f:2", prompt="p", completion="c")) == "p"
    assert asked(Example("f:3", text="t", label="l")) == "t"
    assert asked(Example("f:4", chosen="a", rejected="b")) == ""


def test_reference_labels() -> None:
    assert reference_labels(CHAT) == ["yes"]
    assert reference_labels(Example("f:2", text="t", label="l")) == ["l"]
    assert reference_labels(Example("f:3", text="t", labels=("b", "a"))) == ["b", "a"]
    assert reference_labels(Example("f:4", text="t", labels=())) == []
    assert reference_labels(Example("f:5", text="t")) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("as it is", "as it is"),
        ([{"role": "user", "content": "hi"}], "hi"),
        ([{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}], "system: be\nuser: hi"),
        (["b", "a"], "b, a"),
        ([], ""),
        (3, "3"),
        ({"k": 1}, "{'k': 1}"),
    ],
)
def test_shown(value: Any, text: str) -> None:
    assert shown(value) == text
