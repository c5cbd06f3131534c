"""What looks at a step, and when it stops the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import OneNumber, names, report

from luthier.engine.checkpoint import PAUSED, Checkpoints, best_step
from luthier.engine.hooks import Announce, Budget, Clock, Control, Patience, Validate, best_entry

POLICY = OneNumber()


def validated(run: Checkpoints, values: list[float], metric: str, every: int = 1, steps: int = 100) -> list[int]:
    """Run `Validate` over the steps of a fit whose metric takes `values`; the steps that were measured."""
    left, seen = iter(values), []
    hook = Validate(run, lambda policy: {metric: next(left), "other": 7.0}, metric, every, steps)
    for step in range(1, 1 + (steps if every > 1 else len(values))):
        own = report(step)
        hook(own, POLICY)  # type: ignore[arg-type]
        if own.metrics:
            assert own.metrics == {f"validation_{metric}": run.history[-1][metric], "validation_other": 7.0}
            seen.append(step)
    return seen


def test_validation_is_due_every_so_many_steps_and_at_the_last(tmp_path: Path) -> None:
    run = Checkpoints(tmp_path, 1)
    assert validated(run, [3.0, 2.0, 1.0], "nll", every=3, steps=7) == [3, 6, 7]
    assert run.history == [{"step": step, "nll": nll, "other": 7.0} for step, nll in ((3, 3.0), (6, 2.0), (7, 1.0))]


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("nll", [3.0, 1.0, 2.0, 1.0], 2),
        ("accuracy", [0.1, 0.5, 0.9, 0.2], 3),
        ("macro_f1", [0.5, 0.5, 0.5], 1),
    ],
)
def test_the_best_weights_are_kept_and_of_equals_the_first(
    metric: str, values: list[float], best: int, tmp_path: Path
) -> None:
    run = Checkpoints(tmp_path, 1)
    validated(run, values, metric)
    assert best_step(tmp_path) == best == best_entry(run.history, metric)["step"]
    assert names(tmp_path) == [f"best-{best:08d}"]


@pytest.mark.parametrize(
    ("metric", "values", "stops"),
    [
        ("nll", [3.0, 2.0, 2.5, 2.1, 1.0], 4),
        ("nll", [3.0, 2.0, 2.5, 1.9, 2.0, 1.8], None),
        ("nll", [2.0, 2.0, 2.0], 3),
        ("accuracy", [0.5, 0.6, 0.5, 0.6], 4),
        ("accuracy", [0.1, 0.2, 0.3, 0.4], None),
    ],
)
def test_patience_ends_after_so_many_evaluations_without_a_better_one(
    metric: str, values: list[float], stops: int | None, tmp_path: Path
) -> None:
    run = Checkpoints(tmp_path, 1)
    hook = Patience(run, metric, 2)
    for step, value in enumerate(values, 1):
        run.history.append({"step": step, metric: value})
        reason = hook(report(step), POLICY)  # type: ignore[arg-type]
        assert (reason is not None) == (step == stops)
        if reason:
            assert reason == f"{metric} has not improved for 2 evaluations"
            break


def test_patience_is_asked_at_evaluations_only(tmp_path: Path) -> None:
    run = Checkpoints(tmp_path, 1)
    hook = Patience(run, "nll", 1)
    assert hook(report(1), POLICY) is None  # type: ignore[arg-type]
    run.history = [{"step": 1, "nll": 1.0}, {"step": 2, "nll": 2.0}]
    assert hook(report(3), POLICY) is None  # type: ignore[arg-type]
    assert hook(report(2), POLICY) is not None  # type: ignore[arg-type]


def test_a_budget_is_not_passed_by_a_step_as_slow_as_the_slowest(tmp_path: Path) -> None:
    run = Checkpoints(tmp_path, 1)
    hook, taken = Budget(run, 10.0), []
    for seconds in (1.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        run.seconds += seconds
        taken.append(hook(report(len(taken) + 1, seconds=seconds), POLICY))  # type: ignore[arg-type]
        if taken[-1]:
            break
    assert taken == [None] * 5 + ["the budget of 10 s is used up"]
    assert run.seconds == 8.0


def test_a_slow_step_long_ago_is_forgotten(tmp_path: Path) -> None:
    run = Checkpoints(tmp_path, 1)
    hook = Budget(run, 100.0)
    hook(report(1, seconds=60.0), POLICY)  # type: ignore[arg-type]
    run.seconds = 70.0
    reasons = [hook(report(step, seconds=1.0), POLICY) for step in range(2, 12)]  # type: ignore[arg-type]
    assert [reason is None for reason in reasons] == [False] * 9 + [True]


@pytest.mark.parametrize(("seconds", "last"), [(9.9, 3), (10.0, 4), (12.9, 6), (19.9, 7), (20.0, 8)])
def test_a_budget_leaves_room_for_the_validation_that_comes(seconds: float, last: int, tmp_path: Path) -> None:
    """Steps of a second; after every fourth the policy is measured for six, which the clock counts to the next."""
    run = Checkpoints(tmp_path, 1)
    validate = Validate(run, lambda policy: {"nll": 1.0}, "nll", every=4, steps=100, seconds=6.0)
    hook = Budget(run, seconds, validate)
    for step in range(1, 20):
        took = 7.0 if step > 1 and validate.due(step - 1) else 1.0
        run.seconds += took
        if hook(report(step, seconds=took), POLICY):  # type: ignore[arg-type]
            break
    spent = run.seconds + (6.0 if validate.due(step) else 0.0)
    assert spent <= seconds
    assert step == last


@pytest.mark.parametrize(("order", "reason"), [("pause", PAUSED), ("cancel", "cancelled"), (None, None)])
def test_orders_from_outside(order: str | None, reason: str | None) -> None:
    assert Control(lambda: order)(report(1), POLICY) == reason  # type: ignore[arg-type]


def test_the_clock_adds_the_seconds_of_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([102.5, 103.0])
    monkeypatch.setattr("luthier.engine.hooks.time.perf_counter", lambda: next(times))
    run = Checkpoints(tmp_path, 1)
    run.seconds = 40.0
    clock, seen = Clock(run, last=100.0), []
    for step in (1, 2):
        own = report(step)
        clock(own, POLICY)  # type: ignore[arg-type]
        seen.append(own.metrics["seconds"])
    assert seen == [2.5, 0.5]
    assert run.seconds == 43.0


def test_a_step_is_announced_with_speed_and_time_left(tmp_path: Path) -> None:
    run, told = Checkpoints(tmp_path, 1), []
    run.tokens, run.seconds = 900, 10.0
    Announce(run, 25, told.append)(report(5, tokens=100, loss=2.0), POLICY)  # type: ignore[arg-type]
    assert told == [
        {"step": 5, "steps": 25, "tokens": 1000, "tokens_per_second": 100.0, "seconds": 10.0, "eta_seconds": 40.0,
         "metrics": {"loss": 2.0}}
    ]  # fmt: skip


def test_what_follows_the_last_step_is_counted_when_the_clock_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([101.0, 107.0])
    monkeypatch.setattr("luthier.engine.hooks.time.perf_counter", lambda: next(times))
    run = Checkpoints(tmp_path, 1)
    clock = Clock(run, last=100.0)
    clock(report(1), POLICY)  # type: ignore[arg-type]
    assert clock.stop() == 6.0
    assert run.seconds == 7.0
