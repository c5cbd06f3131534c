"""The sentence of evidence, and where forgetting stands beside its margin."""

import pytest

from luthier.evaluate.report.comparison import comparison
from luthier.evaluate.report.forgetting import forgetting, standing
from luthier.evaluate.report.verdict import evidence, run_date


def run(metric: str, value: float, low: float, high: float, delta: tuple[float, float, float] | None) -> dict:
    document = {"metric": metric, "tuned": {metric: {"value": value, "low": low, "high": high, "n": 1200}}}
    if delta:
        keys = ("value", "low", "high")
        document["delta"] = {
            metric: {**dict(zip(keys, delta, strict=True)), "p": 0.01, "n": 1200, "against": "classic"}
        }
    return document


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (
            run("exact_match", 0.62, 0.55, 0.70, (0.21, 0.12, 0.29)),
            "The tuned model answers 62 % of 1,200 held-out items exactly right, "
            "21 points (12 to 29) more than the best alternative, a classic model.",
        ),
        (
            run("accuracy", 0.934, 0.92, 0.945, (-0.031, -0.04, -0.022)),
            "The tuned model labels 93.4 % of 1,200 held-out items right, "
            "3.1 points (2.2 to 4.0) less than the best alternative, a classic model.",
        ),
        (
            run("accuracy", 0.9, 0.85, 0.95, (0.012, -0.03, 0.054)),
            "The tuned model labels 90.0 % of 1,200 held-out items right; that cannot be told apart from the "
            "best alternative, a classic model (+1.2 points, −3.0 to +5.4).",
        ),
        (
            run("nll", 1.234, 1.1, 1.3, (0.21, 0.15, 0.27)),
            "The tuned model needs 1.234 nats per token on 1,200 held-out items, "
            "0.210 (0.150 to 0.270) lower than the best alternative, a classic model.",
        ),
        (
            run("macro_f1", 0.812, 0.8, 0.82, None),
            "The tuned model reaches a macro F1 of 0.812 on 1,200 held-out items; no alternative was "
            "measured beside it.",
        ),
        (
            {"metric": "nll"},
            "The tuned model was not measured on held-out items, so nothing can be said about it.",
        ),
    ],
)
def test_one_sentence_says_what_was_found(document, sentence):
    assert evidence(document).replace("\u202f", " ") == sentence


def test_the_date_is_read_from_the_run_id():
    assert run_date("20261121-111503-tickets-3f9a") == "21 November 2026"
    assert run_date("20261399-111503-tickets-3f9a") == ""
    assert run_date(None) == ""


@pytest.mark.parametrize(
    ("name", "value", "low", "high", "expected"),
    [
        ("questions", -0.02, -0.04, 0.01, "within the margin"),
        ("questions", -0.02, -0.06, 0.02, "may be past the margin"),
        ("questions", -0.06, -0.09, -0.03, "past the margin"),
        ("questions", 0.3, 0.2, 0.4, "within the margin"),
        ("text_nll", 0.02, 0.01, 0.03, "within the margin"),
        ("text_nll", 0.04, 0.03, 0.06, "may be past the margin"),
        ("text_nll", 0.08, 0.07, 0.09, "past the margin"),
        ("text_nll", -0.3, -0.4, -0.2, "within the margin"),
    ],
)
def test_a_loss_stands_within_or_past_its_margin(name, value, low, high, expected):
    check = {"delta": value, "low": low, "high": high, "margin": 0.05}
    assert standing(name, check) == expected


def test_a_loss_without_a_margin_is_shown_and_not_judged():
    check = {"base": 0.5, "tuned": 0.4, "delta": -0.1, "low": -0.2, "high": 0.0, "n": 60}
    (row, drawing), *_ = forgetting({"forgetting": {"questions": check}})["table"].rows
    assert "no margin given" in row.under
    assert "circle" not in drawing


def test_the_deciding_metric_comes_first_and_the_tuned_model_last():
    scores = {metric: {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9} for metric in ("nll", "accuracy")}
    document = {"metric": "accuracy", "solvers": {"tuned": scores, "classic": scores, "base": scores}}
    groups = comparison(document)["groups"]
    assert [group["title"] for group in groups] == ["Accuracy", "Negative log-likelihood"]
    assert [row.name for row, _ in groups[0]["values"].rows] == ["Base model", "Classic model", "Tuned model"]


def test_the_best_difference_is_drawn_where_the_others_are_missing():
    document = run("accuracy", 0.9, 0.85, 0.95, (0.012, -0.03, 0.054))
    (row, _), *_ = comparison(document)["groups"][0]["differences"].rows
    assert row.name == "against a classic model"
    assert "+1.2" in row.cells[0]
