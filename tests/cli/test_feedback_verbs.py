"""`luthier feedback` and `luthier cycle`: what is taken, and what people see."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from traces import chat_trace

from luthier.cli import main
from luthier.feedback.curate import Wishes
from luthier.store import Home

Out = pytest.CaptureFixture[str]


@pytest.fixture
def asked(home: Home) -> str:
    return chat_trace(home, "c1", "how much?", "3 euros", "4 euros", served="tiny")


def told(out: Out) -> Any:
    return json.loads(out.readouterr().out)


def test_feedback_is_added_and_listed(asked: str, capsys: Out) -> None:
    assert main(["feedback", "list"]) == 0
    assert "no feedback yet" in capsys.readouterr().out
    assert main(["feedback", "add", asked, "--rating", "4", "--index", "1", "--rater", "ana"]) == 0
    assert main(["feedback", "add", asked, "--correction", "5", "--comment", "see the list"]) == 0
    assert main(["feedback", "add", asked, "--label", "money"]) == 0
    assert "1 stored" in capsys.readouterr().out
    main(["feedback", "list", "--json"])
    rows = told(capsys)["feedback"]
    assert [row["value"] for row in rows] == [
        {"label": "money"}, {"message": {"role": "assistant", "content": "5"}, "index": 0}, {"rating": 4, "index": 1},
    ]  # fmt: skip
    main(["feedback", "list", "--kind", "rating", "--limit", "1"])
    assert capsys.readouterr().out.splitlines()[1].split()[-1] == "4"


def test_a_file_is_added_whole(asked: str, tmp_path: Path, capsys: Out) -> None:
    items = [{"trace_id": asked, "kind": "choice", "value": {"chosen": 1, "rejected": [0, "no"]}},
             {"trace_id": asked, "kind": "rating", "value": "up"}]  # fmt: skip
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    assert main(["feedback", "add", "--file", str(tmp_path / "said.jsonl")]) == 0
    assert "2 stored" in capsys.readouterr().out
    main(["feedback", "list"])
    assert "answer 1 before answer 0, 'no'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["c1"], "says nothing, or too much"),
        (["c1", "--rating", "up", "--label", "x"], "says nothing, or too much"),
        (["--rating", "up"], "says nothing, or too much"),
        (["c1", "--rating", "up", "--file", "x"], "says nothing, or too much"),
        (["c1", "--rating", "good"], "'good' is no rating"),
        (["c9", "--rating", "up"], "no answer has the id 'c9'"),
        (["--file", "x.jsonl"], "there is no such file"),
    ],
)
def test_what_cannot_be_added_is_refused(asked: str, words: list[str], what: str, capsys: Out) -> None:
    assert main(["feedback", "add", *words]) == 2
    assert what in capsys.readouterr().err


def test_feedback_is_reviewed_and_curated(asked: str, capsys: Out) -> None:
    main(["feedback", "add", asked, "--correction", "5 euros", "--rater", "ana"])
    main(["feedback", "add", asked, "--correction", "6 euros", "--index", "1", "--rater", "ana"])
    capsys.readouterr()
    main(["feedback", "review", "tiny", "--json"])
    first, second = told(capsys)["pending"]
    assert (first["question"], first["answer"], second["answer"]) == ("how much?", "3 euros", "4 euros")
    assert main(["feedback", "review", "tiny", "--accept", first["id"], "--reject", second["id"]]) == 0
    assert "nothing is waiting" in capsys.readouterr().out
    assert main(["feedback", "review", "tiny", "--accept", "x", "--reject", "x"]) == 2
    assert main(["feedback", "review", "tiny", "--reject", "gone"]) == 2
    capsys.readouterr()
    main(["feedback", "curate", "tiny", "--reviewed", "--json"])
    answers, pairs = told(capsys)["datasets"]
    assert (answers["task"], answers["rows"], pairs["task"], pairs["rows"]) == ("generate", 1, "preference", 1)
    assert answers["left"] == [{"feedback": second["id"], "reason": "rejected in review"}]
    main(["feedback", "curate", "tiny"])
    out = capsys.readouterr().out
    assert "Answers to learn: 1 rows" in out
    assert f"{{path: dataset:{answers['dataset']}}}" in out
    assert "1 × rejected in review" in out
    assert main(["data", "show", answers["dataset"]]) == 0
    assert "5 euros" in capsys.readouterr().out


RUN = {
    "outcome": "promoted", "cycle": 3, "model": "bridges", "alias": "production", "before": "bridges@3",
    "version": "bridges@4", "in_service": "bridges@4", "dataset": "ds-1", "rows": 12, "held_out": "ds-0",
    "feedback": {"total": 20, "new": 7, "used": 15, "left": {"rejected in review": 5}}, "notes": ["a note"],
    "steps": [{"name": "feedback", "rows_in": 20, "rows_out": 15, "dropped": {"rejected in review": 5}}],
    "metric": "exact_match", "reasons": ["it is better"], "next": ["look again"], "report": "r.html", "run_id": "r1",
    "solvers": {name: {"exact_match": {"value": value, "low": 0.4, "high": 0.8, "n": 50}}
                for name, value in (("in_service", 0.5), ("tuned", 0.7))},
    "against_in_service": {"exact_match": {"value": 0.2, "low": 0.1, "high": 0.3, "p": 0.004}},
    "undo": "luthier models rollback bridges@production",
}  # fmt: skip


@pytest.fixture
def cycles(monkeypatch: pytest.MonkeyPatch, home: Home) -> list[Any]:
    """Documents that a cycle ends with, one a call; the arguments of the calls are put behind them."""
    found: list[Any] = []

    def cycle(*given: Any) -> Any:
        found.append(given)
        return found.pop(0)

    monkeypatch.setitem(sys.modules, "luthier.jobs.cycle", SimpleNamespace(cycle=cycle))
    return found


def test_a_promotion_says_what_is_in_service_and_how_to_go_back(cycles: list[Any], capsys: Out) -> None:
    cycles.append(RUN)
    assert main(["cycle", "r.yaml", "--reviewed", "--set", "train.seed=1"]) == 0
    out = capsys.readouterr().out
    assert "PROMOTED  cycle 3: bridges@production is bridges@4 now (before: bridges@3)" in out
    assert "20 pieces, 7 of them new; rows rest on 15" in out
    assert "5 × rejected in review" in out
    assert "+20.0 points [+10.0, +30.0]" in out
    assert "luthier models rollback bridges@production" in out
    assert "look again" not in out
    ((path, overrides, _, _, wishes),) = cycles
    assert (path, overrides, wishes) == (Path("r.yaml"), ["train.seed=1"], Wishes(reviewed=True))


def test_a_hold_says_what_stays_and_what_to_do(cycles: list[Any], capsys: Out) -> None:
    cycles.append(RUN | {"outcome": "held", "in_service": "bridges@3", "undo": None, "against_in_service": None})
    main(["cycle", "r.yaml"])
    out = capsys.readouterr().out
    assert "HELD  cycle 3: bridges@3 stays in service" in out
    assert "look again" in out
    assert "to undo" not in out
    cycles[:] = [RUN | {"outcome": "held", "in_service": None, "before": None}]
    main(["cycle", "r.yaml"])
    assert "nothing is in service" in capsys.readouterr().out


def test_cycles_without_a_run_say_why(cycles: list[Any], capsys: Out) -> None:
    nothing = {"outcome": "nothing_new", "model": "bridges", "alias": "production", "cycles": 2,
               "feedback": {"total": 9, "new": 0}}  # fmt: skip
    cycles.append(nothing)
    assert main(["cycle", "r.yaml", "--json"]) == 0
    assert told(capsys) == nothing
    cycles[:] = [nothing]
    main(["cycle", "r.yaml"])
    assert "nothing new was said of the answers of bridges@production since cycle 2" in capsys.readouterr().out
    cycles[:] = [RUN | {"outcome": "nothing_learnt", "dataset": None}]
    main(["cycle", "r.yaml"])
    assert "no row is left, so nothing was trained" in capsys.readouterr().out
