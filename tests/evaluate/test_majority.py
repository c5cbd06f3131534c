"""The baseline that reads nothing."""

from __future__ import annotations

from luthier.data.example import Example
from luthier.evaluate.classic import NotApplicable
from luthier.evaluate.majority import majority
from luthier.evaluate.scores import Answer

TEST = [Example("t:1", text="?"), Example("t:2", text="!")]


def test_the_most_frequent_label() -> None:
    rows = [Example(f"r:{i}", text="x", label=label) for i, label in enumerate("abbcb")]
    assert majority(rows, TEST) == [Answer(label="b")] * 2


def test_the_most_frequent_set_of_labels() -> None:
    rows = [Example(f"r:{i}", text="x", labels=labels) for i, labels in enumerate([("a",), (), ("a", "b"), ("a", "b")])]
    assert majority(rows, TEST) == [Answer(labels=("a", "b"))] * 2


def test_the_most_frequent_value_of_each_field() -> None:
    texts = ['{"q": "x", "n": 1}', '{"q": "y", "n": 2}', '{"q": "x", "n": 2}'] * 4
    rows = [Example(f"r:{i}", prompt="?", completion=text) for i, text in enumerate(texts)]
    assert majority(rows, TEST) == [Answer(text='{"q": "x", "n": 2}')] * 2


def test_free_answers_have_none() -> None:
    rows = [Example(f"r:{i}", prompt="?", completion=f"a whole sentence about {i}") for i in range(30)]
    assert isinstance(majority(rows, TEST), NotApplicable)
