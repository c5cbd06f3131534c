"""The parts of the run document, from scores that are known."""

from __future__ import annotations

from pathlib import Path

import pytest
from works import classes, ready_of, work_of

from luthier.evaluate.classic import NotApplicable
from luthier.evaluate.scores import Sample, Scores
from luthier.jobs.document import about_part, curves, fit_part, scores_part, verdict_part
from luthier.jobs.spent import judged
from luthier.jobs.workbench import Work
from luthier.store import Home, runs

ROWS = 60
FITTED = {
    "steps": 9, "tokens": 5000, "seconds": 1800.0, "tokens_per_second": 2.5, "peak_memory_bytes": 7,
    "best_step": 6, "reason": "plan complete", "trained_parameters": 11,
    "probe": {"forecast": {
        "steps": 12, "tokens": 6000, "before_seconds": 200.0, "seconds": 2000.0, "job_seconds": 3000.0,
        "peak_memory_bytes": 9, "cost": 2.0,
    }},
}  # fmt: skip


@pytest.fixture(scope="module")
def work(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("document")
    home = Home(folder / "home")
    machine = {"threads": 1, "memory": "4GB", "price_per_hour": 3.0, "power_watts": 40.0}
    return work_of(ready_of(classes(folder, tiny_bert, machine=machine), home), home)


def scores(name: str, right: int) -> Scores:
    """A solver that answers the first `right` rows correctly."""
    truth = ["wood", "money"] * (ROWS // 2)
    said = [own if i < right else {"wood": "money", "money": "wood"}[own] for i, own in enumerate(truth)]
    right_or_wrong = [dict.fromkeys(("accuracy", "macro_f1"), float(a == b)) for a, b in zip(truth, said, strict=True)]
    columns = enumerate(zip(truth, said, right_or_wrong, strict=True))
    samples = [Sample(f"r:{i}", None, f"question {i}", own, answer, found) for i, (own, answer, found) in columns]
    return Scores(name, "classify", tuple(samples), 1.5)


def measured(work: Work, tuned: int, classic: int = 40) -> dict:
    found = {
        "base": scores("base", 30), "few_shot": NotApplicable("it does not fit"), "classic": scores("classic", classic),
        "tuned": scores("tuned", tuned),
    }  # fmt: skip
    return scores_part(work, found)


def test_scores_stand_beside_those_of_each_baseline(work: Work) -> None:
    part = measured(work, 58)
    assert (part["metric"], part["best_baseline"]) == ("accuracy", "classic")
    assert part["solvers"].keys() == {"base", "classic", "tuned"}
    assert part["tuned"] == part["solvers"]["tuned"]
    assert part["base"]["accuracy"]["value"] == pytest.approx(30 / ROWS)
    assert part["tuned"]["accuracy"]["n"] == ROWS
    assert part["skipped_baselines"] == {"few_shot": "it does not fit"}
    assert part["evaluation_seconds"] == {"base": 1.5, "classic": 1.5, "tuned": 1.5}


def test_differences_are_paired_and_the_headline_is_to_the_best_baseline(work: Work) -> None:
    part = measured(work, 58)
    assert part["deltas"].keys() == {"base", "classic"}
    headline = part["delta"]["accuracy"]
    assert headline == part["deltas"]["classic"]["accuracy"] | {"against": "classic"}
    assert headline["value"] == pytest.approx(18 / ROWS)
    assert headline["low"] > 0
    assert headline["n"] == ROWS
    assert part["samples"]["counts"]["improved"] == 18


def test_without_a_baseline_there_is_no_difference(work: Work) -> None:
    part = scores_part(work, {"classic": NotApplicable("no"), "tuned": scores("tuned", 50)})
    assert (part["best_baseline"], part["delta"], part["deltas"], part["samples"], part["base"]) == (
        None,
        {},
        {},
        {},
        {},
    )


@pytest.mark.parametrize(("tuned", "verdict"), [(58, "ship"), (43, "hold"), (20, "hold")])
def test_the_verdict_follows_from_the_differences(work: Work, tuned: int, verdict: str) -> None:
    part = verdict_part(work, measured(work, tuned), {})
    assert part["verdict"] == verdict
    assert part["reasons"][0].startswith("On accuracy the tuned model is")
    assert bool(part["next"]) is (verdict == "hold")


def test_a_rival_that_is_almost_as_good_holds_what_beats_the_base(work: Work) -> None:
    part = verdict_part(work, measured(work, 58, classic=57), {})
    assert part["verdict"] == "hold"
    assert "the classic model" in part["reasons"][0]


def test_what_was_forgotten_holds_what_is_better(work: Work) -> None:
    lost = {"questions": {"delta": -0.2, "low": -0.3, "high": -0.1, "margin": 0.05, "n": 60}}
    part = verdict_part(work, measured(work, 58), lost)
    assert part["verdict"] == "hold"
    assert "general questions" in part["reasons"][0]


def test_what_the_fit_took_beside_its_forecast(work: Work) -> None:
    part = fit_part(work, FITTED)
    assert part["actual"] == {
        "steps": 9, "tokens": 5000, "before_seconds": 200.0, "seconds": 1800.0, "job_seconds": None,
        "peak_memory_bytes": 7, "cost": pytest.approx(2000 / 1200),
    }  # fmt: skip
    assert part["forecast"].keys() == part["forecast_after_probe"].keys() == part["actual"].keys()
    assert part["energy_wh"] == 20.0
    assert part["stopped_because"] == "plan complete"
    assert part["adapter_path"] == str(work.folder / "adapter")


def test_the_error_of_a_forecast_is_that_of_the_steps_that_were_taken(work: Work) -> None:
    """Nine of twelve steps, forecast at 2,000 seconds of 3,000: 1,500 of 2,500."""
    part = fit_part(work, FITTED)
    found = judged(part, 2000.0)
    assert found["actual"] == part["actual"] | {"job_seconds": 2000.0}
    assert found["forecast_error"]["forecast_after_probe"] == pytest.approx(
        {"seconds": 1500 / 1800 - 1, "job_seconds": 0.25, "peak_memory_bytes": 9 / 7 - 1}
    )
    assert found["forecast_error"].keys() == {"forecast", "forecast_after_probe"}


def test_curves_are_the_metrics_of_the_run_by_step(work: Work) -> None:
    for step, values in (
        (1, {"loss": 2.0, "learning_rate": 0.1, "grad_norm": 5.0}),
        (2, {"loss": 1.0, "seconds": 3.0}),
    ):
        runs.log_metrics(work.home, work.plan.run_id, step, values)
    runs.log_metrics(work.home, work.plan.run_id, 2, {"validation_accuracy": 0.5})
    assert curves(work) == {
        "train_loss": [[1, 2.0], [2, 1.0]], "learning_rate": [[1, 0.1]], "validation_accuracy": [[2, 0.5]],
    }  # fmt: skip


def test_a_run_says_what_it_was(work: Work) -> None:
    part = about_part(work)
    assert part["run_id"] == work.plan.run_id
    assert part["recipe"]["objective"]["type"] == "classify"
    assert part["data"]["splits"] == {name: len(rows) for name, rows in work.rows.items()}
