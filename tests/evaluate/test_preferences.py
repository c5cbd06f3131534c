"""Which answer of a pair is preferred, by scores, by length and by words."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.data.example import Example
from luthier.errors import DataError
from luthier.evaluate.preferences import by_length, by_words, prefer
from luthier.evaluate.scorers import preference_accuracy, score
from luthier.evaluate.scores import Answer


def pair(number: int, chosen: str, rejected: str) -> Example:
    return Example(f"p:{number}", prompt="Which?", chosen=chosen, rejected=rejected)


KIND = [pair(i, f"thank you, part {i} is on its way", f"part {i}? go away, you fool" + "!" * i) for i in range(12)]


def share(pairs: list[Example], answers: list[Answer]) -> float:
    return score("reward", pairs, answers, ["preference_accuracy"], solver="s").estimate("preference_accuracy").value


def test_the_answer_with_the_larger_score_is_preferred_and_a_tie_is_not() -> None:
    pairs = [pair(i, "a", "b") for i in range(3)]
    found = prefer(pairs, np.array([[1.0, 0.5], [0.5, 1.0], [2.0, 2.0]]))
    assert [answer.text for answer in found] == ["a", "b", "b"]
    scores = score("reward", pairs, found, ["preference_accuracy"], solver="s")
    assert [sample.scores["preference_accuracy"] for sample in scores.samples] == [1, 0, 0]
    assert [sample.extra["margin"] for sample in scores.samples] == [0.5, -0.5, 0]
    assert {(sample.reference, sample.question) for sample in scores.samples} == {("a", "Which?")}


def test_a_pair_that_was_not_scored_is_counted() -> None:
    scores = score(
        "reward", KIND[:2], [*prefer(KIND[:1], np.ones((1, 2))), Answer()], ["preference_accuracy"], solver="s"
    )
    assert scores.notes == ("preference_accuracy: 1 of 2 rows not scored: the solver scores no pair",)


def test_a_score_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(DataError, match="p:0"):
        preference_accuracy(KIND[0], Answer(preference=(float("nan"), 1.0)))


@pytest.mark.parametrize("longer", [True, False])
def test_length_goes_with_the_majority(longer: bool) -> None:
    long, short = "a long answer", "short"
    train = [pair(i, *((long, short) if (i > 0) == longer else (short, long))) for i in range(5)]
    assert share(train, by_length(train, train)) == 0.8


def test_words_say_more_than_length() -> None:
    assert share(KIND[8:], by_words(KIND[:8], KIND[8:])) == 1


def test_the_order_of_the_two_answers_says_nothing() -> None:
    turned = [pair(i, str(one.rejected), str(one.chosen)) for i, one in enumerate(KIND)]
    first, second = (by_words(KIND[:8], asked) for asked in (KIND, turned))
    for one, other in zip(first, second, strict=True):
        assert one.preference == pytest.approx(other.preference[::-1])
