"""Which answers a task allows, seen from its training answers."""

from __future__ import annotations

import json

import pytest

from luthier.data.example import Example
from luthier.evaluate.answer_space import answer_space, closed_values, json_parts


def rows(answers: list[str]) -> list[Example]:
    return [Example(f"f:{i}", prompt="q", completion=answer) for i, answer in enumerate(answers)]


def test_labels_are_closed_whatever_their_number() -> None:
    space = answer_space([Example("f:1", text="t", label="b"), Example("f:2", text="t", label="a")])
    assert (space.kind, space.options, space.size, list(space.answers())) == ("labels", ("a", "b"), 2, ["a", "b"])


def test_short_answers_that_repeat_are_closed() -> None:
    space = answer_space(rows(["yes", "no", "unclear"] * 8))
    assert (space.kind, space.options) == ("labels", ("no", "unclear", "yes"))


def test_json_fields_with_few_values() -> None:
    answers = [json.dumps({"kind": k, "urgent": u, "n": None}) for k in "ab" for u in (True, False)] * 5
    space = answer_space(rows(answers))
    assert space.kind == "json"
    assert space.fields == {"kind": ('"a"', '"b"'), "urgent": ("false", "true"), "n": ("null",)}
    assert space.literals == ('{"kind": ', ', "urgent": ', ', "n": ', "}")
    assert space.size == 4
    assert set(space.answers()) == set(answers)


def test_the_spacing_of_the_training_answers_is_kept() -> None:
    answer = '```json\n{ "kind" :"a",\n  "nested": {"x": [1, 2]} }\n```'
    space = answer_space(rows([answer] * 4))
    assert list(space.answers()) == [answer]


@pytest.mark.parametrize(
    ("examples", "reason"),
    [
        (rows([f"free text {i}" for i in range(40)]), "the answers are not a closed set: 100% of 40 occur once"),
        (rows([f"value {i // 2}" for i in range(4000)]), "2000 different ones"),
        (
            rows([json.dumps({"kind": "a", "who": f"name {i}"}) for i in range(9)]),
            "the values of who are not a closed set",
        ),
        (rows(['{"a": 1}', '{"a":1}'] * 5), "2 forms"),
        (rows(['{"a": 1, "b": 2}', '{"b": 2, "a": 1}'] * 5), "2 forms"),
        ([Example("f:1", text="t", labels=("a",))], "several labels"),
        ([Example("f:1", text="t")], "no training row has an answer"),
        ([], "no training row has an answer"),
    ],
)
def test_why_not(examples: list[Example], reason: str) -> None:
    space = answer_space(examples)
    assert space.kind is None
    assert reason in space.reason


def test_a_few_rare_values_are_still_closed() -> None:
    assert closed_values(["a"] * 50 + ["b"] * 49 + ["c"]) == ("a", "b", "c")
    assert isinstance(closed_values(["a"] * 10 + ["b"]), str)


@pytest.mark.parametrize("text", ["{", '{"a": }', '{"a": 1', '{"a": 1 "b"}', "{}", "none", '{"a" 1}', '{1: 2}x"'])
def test_what_is_no_object(text: str) -> None:
    assert json_parts(text) is None or text == '{1: 2}x"'
