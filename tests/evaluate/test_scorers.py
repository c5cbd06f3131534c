"""Answers beside references: each metric, and the rows that cannot be scored."""

from __future__ import annotations

import math

import pytest

from luthier.data.example import Example
from luthier.errors import DataError
from luthier.evaluate.scorers import score
from luthier.evaluate.scores import Answer


def rows(*completions: str | None) -> list[Example]:
    return [Example(f"f:{i}", prompt=f"q{i}", completion=text) for i, text in enumerate(completions, 1)]


def texts(*answers: str | None) -> list[Answer]:
    return [Answer(text=text) for text in answers]


def column(metric: str, examples: list[Example], answers: list[Answer]) -> list[float]:
    return [s.scores[metric] for s in score("generate", examples, answers, [metric], solver="base").samples]


def test_exact_match_ignores_only_white_space() -> None:
    answers = texts("  a\n b ", "A b", "a b.", None)
    assert column("exact_match", rows(*["a b"] * 4), answers) == [1, 0, 0, 0]


def test_json_match_is_all_fields_and_keeps_each() -> None:
    reference = '{"kind": "refund", "urgent": true}'
    answers = texts('Here: {"urgent": true, "kind": "refund", "more": 1}', '{"kind": "refund", "urgent": 1}', "none")
    found = score("generate", rows(*[reference] * 3), answers, ["json_match"], solver="base")
    assert [s.scores["json_match"] for s in found.samples] == [1, 0, 0]
    assert found.samples[1].extra == {
        "fields": {"kind": True, "urgent": False},
        "json": {"kind": "refund", "urgent": 1},
    }
    assert found.samples[2].extra["json"] is None


def test_one_label() -> None:
    examples = [Example(f"f:{i}", text="t", label="card lost") for i in range(4)]
    answers = [Answer(label="card lost"), Answer(label="other"), Answer(text="card  lost\n"), Answer()]
    found = score("classify", examples, answers, ["accuracy", "macro_f1"], solver="base")
    assert [s.scores["accuracy"] for s in found.samples] == [1, 0, 1, 0]
    assert [s.prediction for s in found.samples] == ["card lost", "other", "card lost", None]
    assert found.estimate("macro_f1").value == pytest.approx(2 / 3)


def test_several_labels_must_be_the_same_set() -> None:
    examples = [Example(f"f:{i}", text="t", labels=labels) for i, labels in enumerate([("a", "b"), ("a",), ()])]
    answers = [Answer(labels=("b", "a")), Answer(labels=("a", "b")), Answer(labels=())]
    found = score("classify", examples, answers, ["accuracy", "macro_f1", "micro_f1"], solver="base")
    assert [s.scores["accuracy"] for s in found.samples] == [1, 0, 1]
    assert found.estimate("micro_f1").value == pytest.approx(6 / 7)
    assert found.samples[0].prediction == ["a", "b"]


def test_nll_is_per_token_and_weighs_tokens() -> None:
    answers = [Answer(nll=10.0, tokens=5), Answer(nll=3.0, tokens=1)]
    found = score("text", [Example("f:1", text="x"), Example("f:2", text="y")], answers, ["nll"], solver="base")
    assert [s.scores["nll"] for s in found.samples] == [2, 3]
    assert found.estimate("nll").value == pytest.approx(13 / 6)


def test_rows_without_a_reference_are_counted() -> None:
    examples = [*rows("a", None), Example("f:3", messages=({"role": "user", "content": "hi"},))]
    found = score("generate", examples, texts("a", "a", "a"), ["exact_match"], solver="base")
    assert [s.row_id for s in found.samples] == ["f:1"]
    assert found.notes == ("exact_match: 2 of 3 rows not scored: no reference answer",)


def test_rows_without_trained_tokens_do_not_make_the_nll_nan() -> None:
    answers = [Answer(nll=0.0, tokens=0), Answer(nll=2.0, tokens=1), Answer(nll=4.0, tokens=1)]
    found = score("generate", rows("", "a", "b"), answers, ["nll"], solver="base")
    assert found.estimate("nll").value == 3.0
    assert found.notes == ("nll: 1 of 3 rows not scored: no token to predict",)


def test_a_solver_without_likelihoods_has_no_nll() -> None:
    found = score("generate", rows("a", "b"), texts("a", "c"), ["exact_match", "nll"], solver="classic")
    assert found.metrics == ("exact_match",)
    assert found.notes == ("nll: 2 of 2 rows not scored: the solver gives no likelihood",)


@pytest.mark.parametrize("nll", [math.nan, math.inf])
def test_a_broken_likelihood_names_its_row(nll: float) -> None:
    with pytest.raises(DataError, match="f:1"):
        score("generate", rows("a"), [Answer(nll=nll, tokens=3)], ["nll"], solver="base")


@pytest.mark.parametrize(("examples", "answers"), [([], []), (rows("no json"), texts("{}")), (rows("a"), [])])
def test_nothing_to_score(examples: list[Example], answers: list[Answer]) -> None:
    with pytest.raises(DataError):
        score("generate", examples, answers, ["json_match"], solver="base")


def test_group_and_question_are_kept() -> None:
    chat = Example(
        "f:1", messages=({"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}), group="g"
    )
    (sample,) = score("generate", [chat], texts("yo"), ["exact_match"], solver="base").samples
    assert (sample.group, sample.question, sample.reference) == ("g", [{"role": "user", "content": "hi"}], "yo")
