"""Scores keep every sample, survive a file, and estimate each metric by its kind."""

from __future__ import annotations

import dataclasses
import json

import pytest
from statsmodels.stats.proportion import proportion_confint

from luthier.errors import DataError
from luthier.evaluate.scores import Sample, Scores


def sample(number: int, **scores: float) -> Sample:
    return Sample(f"f.jsonl:{number}", None, "a question", "a", "b", scores)


def scores(*rows: Sample) -> Scores:
    return Scores("base", "generate", rows, 1.5, ("one note",))


def test_a_share_has_wilsons_interval() -> None:
    rows = scores(*(sample(i, exact_match=float(i < 7)) for i in range(20)))
    found = rows.estimate("exact_match", 0.9)
    assert (found.low, found.high) == pytest.approx(proportion_confint(7, 20, 0.1, "wilson"))
    assert (found.value, found.n) == (0.35, 20)


def test_nll_is_per_token_not_per_row() -> None:
    rows = [
        dataclasses.replace(sample(i, nll=nats), weights={"nll": w}) for i, (nats, w) in enumerate([(2, 90), (4, 10)])
    ]
    assert scores(*rows).estimate("nll").value == pytest.approx(2.2)


def test_scores_between_0_and_1_are_a_mean() -> None:
    found = scores(*(sample(i, overlap=i / 9) for i in range(10))).estimate("overlap")
    assert found.value == pytest.approx(0.5)
    assert 0.2 < found.low < 0.4 < 0.6 < found.high < 0.8


def test_f1_reads_labels_not_row_scores() -> None:
    rows = [dataclasses.replace(sample(i, macro_f1=1.0), reference=r, prediction=p)
            for i, (r, p) in enumerate([("x", "x"), ("x", "x"), ("y", "x"), ("y", None)])]  # fmt: skip
    assert scores(*rows).estimate("macro_f1").value == pytest.approx(0.4)


def test_rows_without_the_metric_are_left_out() -> None:
    rows = scores(sample(1, accuracy=1.0), sample(2), sample(3, accuracy=0.0))
    assert rows.estimate("accuracy").n == 2
    assert rows.metrics == ("accuracy",)


def test_a_metric_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"no row is scored by nll.*accuracy"):
        scores(sample(1, accuracy=1.0)).estimate("nll")


def test_there_and_back() -> None:
    rows = scores(
        dataclasses.replace(sample(1, nll=2.0), weights={"nll": 7.0}, group="ä", extra={"k": [1, None]}),
        dataclasses.replace(sample(2, accuracy=1.0), question=[{"role": "user", "content": "line\u2028break\n"}]),
    )
    text = rows.to_jsonl()
    assert Scores.from_jsonl(text) == rows
    assert Scores.from_jsonl(text).to_jsonl() == text
    assert [json.loads(line)["row_id"] for line in text.split("\n")[1:-1]] == ["f.jsonl:1", "f.jsonl:2"]


@pytest.mark.parametrize(
    ("text", "what"), [("", "not the record"), ("{}\n", "not the record"), ('{"a": 1}\n{', "line 2")]
)
def test_a_broken_file_is_named(text: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        Scores.from_jsonl(text)
