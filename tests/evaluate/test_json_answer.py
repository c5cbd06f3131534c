"""Finding the JSON object in an answer, and comparing it field by field."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.evaluate.json_answer import fields_equal, first_object, same


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Sure!\n```json\n{"a": {"b": [1, 2]}}\n```\nDone.', {"a": {"b": [1, 2]}}),
        ('{broken} then {"a": 1} and {"a": 2}', {"a": 1}),
        ('{"a": {"b": 1}', {"b": 1}),
        ("{}", {}),
        ("{'a': 1}", None),
        ('{"a": 1,}', None),
        ('{"a": NaN}', None),
        ("[1, 2]", None),
        ("no braces", None),
        ("{" * 3000, None),
    ],
)
def test_first_object(text: str, found: Any) -> None:
    assert first_object(text) == found


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (None, None, True),
        (None, "null", False),
        ("1", 1, False),
        ("a  b", " a b\n", True),
        ("A", "a", False),
        ([1, 2], [2, 1], False),
        ({"x": 1, "y": [None]}, {"y": [None], "x": 1}, True),
        ({"x": 1}, {"x": 1, "y": 2}, False),
        ([], {}, False),
    ],
)
def test_same(a: Any, b: Any, equal: bool) -> None:
    assert same(a, b) is same(b, a) is equal


def test_fields_are_those_of_the_reference() -> None:
    reference = {"a": 1, "b": None, "c": "x"}
    assert fields_equal(reference, {"a": 1, "c": "y", "d": 0}) == {"a": True, "b": False, "c": False}
    assert fields_equal(reference, None) == dict.fromkeys("abc", False)
