"""Sides take turns, a wrong one is refused, and medians are of the ratios within turns."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import turns
from harness.case import Case, Inputs, Side, Task
from harness.count import Amount
from harness.summary import show, summary

INPUTS = Inputs(Path(), Path(), Path(), 2)
SIDES = (Side("Luthier", "ours.py", 4, environment="luthier"), Side("peer", "theirs.py", 2))


def case_of(digest: str = "") -> Case:
    return Case("c", "A case", "tokens", SIDES,
                lambda inputs: lambda side: Task({}, Amount(side.rows, 100 * side.rows, 10, 1e9), digest))  # fmt: skip


@pytest.fixture
def answers(monkeypatch) -> dict[str, list[dict]]:
    """What each program says, turn by turn, on a machine of 100 GFLOP/s."""
    said: dict[str, list[dict]] = {"ours.py": [], "theirs.py": []}
    monkeypatch.setattr(turns, "gemm", lambda: 100.0)
    monkeypatch.setattr(turns, "process", lambda program, job, python: said[program].pop(0))
    return said


def test_rates_shares_and_ratios(answers) -> None:
    answers["ours.py"] = [{"seconds": 1.0}, {"seconds": 2.0}, {"seconds": 4.0}]
    answers["theirs.py"] = [{"seconds": 2.0, "peak_memory_bytes": 5}, {"seconds": 2.0, "peak_memory_bytes": 7},
                            {"seconds": 2.0, "peak_memory_bytes": 6}]  # fmt: skip
    found = summary(case_of(), turns.take_turns(case_of(), SIDES, INPUTS, 3, "python"), {})
    own, peer = found["sides"]["Luthier"], found["sides"]["peer"]
    assert (own["rate"], own["share"]) == (200.0, pytest.approx(0.005))
    assert (peer["rate"], peer["peak_memory_bytes"]) == (100.0, 7)
    assert peer["ratios"] == [4.0, 2.0, 1.0]
    assert peer["ratio"] == 2.0
    assert "2.00 x" in show(found)


def test_a_side_that_saw_other_tokens_is_refused_and_left_out(answers) -> None:
    answers["ours.py"] = [{"seconds": 1.0, "digest": "right"}] * 2
    answers["theirs.py"] = [{"seconds": 1.0, "digest": "wrong"}]
    found = summary(case_of("right"), turns.take_turns(case_of("right"), SIDES, INPUTS, 2, "python"), {})
    assert "other tokens" in found["sides"]["peer"]["failed"]
    assert found["sides"]["Luthier"]["slices"] == 2


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(turns.Failed, match="ended with code 1"):
        turns.process("nothing.py", {}, "/bin/false")


def test_a_killed_process_has_no_last_words_of_its_own() -> None:
    assert "memory" in turns.last_words(-9, "Loading weights: 100%")
    assert turns.last_words(1, "Traceback\nValueError: no") == "ValueError: no"


def test_agreement_is_with_the_first_side(answers) -> None:
    answers["ours.py"] = [{"seconds": 1.0, "nll": [1.0, 2.0], "answers": [[1], [2]]}]
    answers["theirs.py"] = [{"seconds": 1.0, "nll": [1.0, 2.5], "answers": [[1], [3]]}]
    sides = tuple(Side(side.name, side.program, 2) for side in SIDES)
    found = summary(case_of(), turns.take_turns(case_of(), sides, INPUTS, 1, "python"), {})
    assert found["sides"]["peer"]["equal_answers"] == 0.5
