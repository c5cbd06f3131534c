"""The packaged questions and texts, and what was lost of them."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from luthier.evaluate import retention
from luthier.evaluate.scorers import score
from luthier.evaluate.scores import Answer, Scores

QUESTIONS, TEXTS = retention.load()


def answered(right: int) -> Scores:
    answers = [
        Answer(text=q.completion if i < right else next(o for o in q.extra["options"] if o != q.completion))
        for i, q in enumerate(QUESTIONS)
    ]
    return score("retention", QUESTIONS, answers, ["exact_match"], solver="base")


def likelihoods(nats: float) -> Scores:
    answers = [Answer(nll=(nats + 0.001 * (i % 5)) * 80, tokens=80) for i in range(len(TEXTS))]
    return score("retention", TEXTS, answers, ["nll"], solver="base")


def test_every_question_has_its_answer_among_different_options() -> None:
    assert len(QUESTIONS) == 240
    for question in QUESTIONS:
        options = question.extra["options"]
        assert question.completion in options
        assert 2 <= len(options) == len(set(options))
    assert len({q.content_id for q in QUESTIONS}) == len(QUESTIONS)


def test_the_answer_is_not_given_away_by_its_place() -> None:
    places = Counter(q.extra["options"].index(q.completion) for q in QUESTIONS if len(q.extra["options"]) == 4)
    assert max(places.values()) < 0.4 * sum(places.values())


def test_texts_are_varied_and_different() -> None:
    assert len({text.text for text in TEXTS}) == len(TEXTS) == 60
    assert len({text.extra["kind"] for text in TEXTS}) == 7
    assert all(200 <= len(text.text) <= 900 for text in TEXTS)


def test_what_was_lost() -> None:
    base = {"questions": answered(180), "text_nll": likelihoods(2.0)}
    tuned = {"questions": answered(150), "text_nll": likelihoods(2.1)}
    block = retention.compare(base, tuned, margin=0.05)
    questions = block["questions"]
    assert [questions[key] for key in ("base", "tuned", "delta", "margin", "n")] == [0.75, 0.625, -0.125, 0.05, 240]
    assert -0.2 < questions["low"] < -0.125 < questions["high"] < -0.05
    text = block["text_nll"]
    assert text["low"] <= text["delta"] <= text["high"]
    assert math.expm1(text["delta"]) == pytest.approx(math.expm1(0.1))
    assert text["tuned"] - text["base"] == pytest.approx(text["delta"])


def test_only_what_both_have() -> None:
    assert retention.compare({"questions": answered(9)}, {}, margin=0.05) == {}
