"""Verbs that call a job: what they hand over, and what they print. The jobs here are small fakes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from luthier.cli import main
from luthier.store import Home

Fake = Callable[..., list[Any]]

CHECKED = {
    "rows": 610,
    "splits": {"train": 450, "validation": 50, "test": 110},
    "steps": [{"name": "deduplicate", "rows_in": 613, "rows_out": 610, "dropped": {"duplicate of t:1": 3}}],
    "sources": [{"path": "tickets.jsonl", "type": "classification", "why": "it has text and label"}],
    "notes": ["no test split given: 15% cut from train, stratified by label"],
    "coverage": {"tokens": 48213, "trained_tokens": 9643, "truncated": 0, "longest": 412},
    "resolved": [
        {"key": "train.learning_rate", "value": 0.0002, "why": "lora adapters take 2e-4"},
        {"key": "evaluate.metrics", "value": ["accuracy", "macro_f1"], "why": "there are labels"},
    ],
    "forecast": {
        "steps": 84,
        "tokens": 144639,
        "before_seconds": 0.0,
        "seconds": 780,
        "job_seconds": 900,
        "peak_memory_bytes": 4 << 30,
        "cost": 0.0,
    },
    "probe": None,
    "licences": {"smollm2-135m-instruct": "apache-2.0", "tickets.jsonl": None},
    "warnings": [],
    "findings": [f"t:{row}: the [text] is empty (usable)" for row in range(12)],
}
SAMPLE = Path(__file__).parents[1] / "evaluate" / "sample_document.json"
ESTIMATE = {"value": 0.84, "low": 0.76, "high": 0.9, "n": 110}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, home: Home, tmp_path: Path) -> Fake:
    """`calls = fake("check", document)` stands in for `luthier.jobs.check.check` and notes its arguments."""
    monkeypatch.chdir(tmp_path)

    def plant(job: str, answer: Any, module: str = "") -> list[Any]:
        calls: list[Any] = []

        def perform(*args: Any, **named: Any) -> Any:
            calls.append((args, named))
            return answer

        monkeypatch.setitem(sys.modules, f"luthier.jobs.{module or job}", SimpleNamespace(**{job: perform}))
        return calls

    return plant


def test_check_may_probe(fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bool] = []
    monkeypatch.setattr("luthier.engine.allocator.keep_pages", lambda: kept.append(True))
    after = CHECKED["forecast"] | {"seconds": 60.0, "before_seconds": 5.0}
    calls = fake("check", CHECKED | {"probe": {"forecast": after, "micro_batches": {}}})
    assert main(["check", "r.yaml", "--probe"]) == 0
    assert calls[0][0][4] is True
    assert kept == [True], "memory is held as in the process that trains"
    before, _, probed = capsys.readouterr().out.partition("Forecast after the probe")
    assert "time       13 min 0 s" in before
    assert "time         1 min 0 s" in probed
    assert "before them  5.0 s" in probed


def test_check_hands_over_recipe_and_overrides(fake: Fake, home: Home) -> None:
    calls = fake("check", CHECKED)
    assert main(["check", "r.yaml", "--set", "train.seed=1", "--set", "name=x"]) == 0
    ((recipe, overrides, opened, note, probe), _) = calls[0]
    assert probe is False
    assert (recipe, overrides, opened.root) == (Path("r.yaml"), ["train.seed=1", "name=x"], home.root)
    assert callable(note)


def test_check_prints_what_matters(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake("check", CHECKED)
    main(["check", "r.yaml"])
    out = capsys.readouterr().out
    for part in (
        "train 450",
        "3 × duplicate of t:1",
        "0.0002",
        "lora adapters take 2e-4",
        "[accuracy, macro_f1]",
        "13 min 0 s",
        "4.00 GiB",
    ):
        assert part in out
    assert "tickets.jsonl          not stated" in out
    assert "- t:4: the [text] is empty (usable)\n- and 7 more" in out
    assert "Warnings" not in out


def test_run_prints_the_summary_of_its_report(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake("run", json.loads(SAMPLE.read_text()))
    assert main(["run", "r.yaml"]) == 0
    assert "report" in capsys.readouterr().out


def test_a_jobs_document_is_printed_as_it_is(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake("check", CHECKED)
    main(["check", "r.yaml", "--json"])
    assert json.loads(capsys.readouterr().out) == CHECKED


@pytest.mark.parametrize("verb", ["run", "train"])
def test_fits_take_a_reporter_and_can_start_afresh(fake: Fake, verb: str, capsys) -> None:
    calls = fake(verb, {"run_id": "r-1"})
    assert main([verb, "r.yaml", "--fresh", "--json"]) == 0
    ((recipe, overrides, _, reporter), named) = calls[0]
    assert (recipe, overrides, named) == (Path("r.yaml"), [], {"fresh": True})
    assert json.loads(capsys.readouterr().out) == {"run_id": "r-1"}
    reporter.event("note", "read 3 rows", {})
    assert json.loads(capsys.readouterr().err)["message"] == "read 3 rows"


def test_evaluate_prints_estimates(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    document = {"model": "tickets@3", "data": "t.jsonl", "seconds": 3.2, "scores": {"exact_match": ESTIMATE}}
    document |= {"rows": 110, "notes": ["2 rows had no answer"]}
    calls = fake("evaluate", document)
    assert main(["evaluate", "tickets@3", "t.jsonl"]) == 0
    assert calls[0][0][:2] == ("tickets@3", Path("t.jsonl"))
    assert "exact_match 84.0 % [76.0, 90.0] 110" in " ".join(capsys.readouterr().out.split())


def test_compare_prints_the_paired_difference(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    delta = {"value": -0.02, "low": -0.05, "high": 0.01, "p": 0.21, "n": 110, "method": "sign flips"}
    metrics = {"exact_match": {"a": ESTIMATE, "b": ESTIMATE | {"value": 0.82}, "delta": delta}}
    fake("compare", {"a": "run-a", "b": "run-b", "metrics": metrics})
    assert main(["compare", "run-a", "run-b"]) == 0
    assert "exact_match 84.0 % 82.0 % −2.0 points [−5.0, +1.0]" in " ".join(capsys.readouterr().out.split())


def test_compare_says_so_where_nothing_can_be_compared(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake("compare", {"a": "run-a", "b": "run-b", "metrics": {}})
    assert main(["compare", "run-a", "run-b"]) == 0
    assert "no metric was measured in both" in capsys.readouterr().out


def test_init_writes_the_recipe_and_spares_an_existing_one(fake: Fake, tmp_path: Path, capsys) -> None:
    fake("propose", "base_model: x\ndata: t.jsonl\n")
    assert main(["init", "t.jsonl"]) == 0
    assert (tmp_path / "recipe.yaml").read_text().startswith("base_model: x")
    assert main(["init", "t.jsonl"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["init", "t.jsonl", "--force", "-o", "recipe.yaml"]) == 0


def test_init_takes_no_folder_for_a_recipe_and_leaves_links_as_they_are(fake: Fake, tmp_path: Path, capsys) -> None:
    calls = fake("propose", "base_model: x\ndata: t.jsonl\n")
    (tmp_path / "folder").mkdir()
    assert main(["init", "t.jsonl", "-o", "folder", "--force"]) == 2
    assert "folder: this is a folder" in capsys.readouterr().err
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    assert main(["init", "loop.jsonl", "-o", "folder/r.yaml"]) == 0
    assert calls[0][0][0] == tmp_path / "loop.jsonl"


def test_remarks_are_json_lines_beside_json(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    calls = fake("check", CHECKED)
    for flags in ([], ["--json"]):
        assert main(["check", "r.yaml", *flags]) == 0
        capsys.readouterr()
        calls[-1][0][3]("converting \x1b[2Jonce")
        out, err = capsys.readouterr()
        assert out == ""
        said = json.loads(err)["message"] if flags else err
        assert said == ("converting \x1b[2Jonce" if flags else "converting \\x1b[2Jonce\n")


def test_demo_opens_a_browser_unless_told_not_to(fake: Fake) -> None:
    calls = fake("demo", {"run_id": "r-1"})
    assert main(["demo", "--json"]) == main(["demo", "--no-open", "--json"]) == 0
    assert [args[2] for args, _ in calls] == [True, False]


def test_clean_says_how_much_it_freed(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    calls = fake("clean", 3 << 20, module="home")
    assert main(["clean"]) == 0
    assert calls[0][0][1] == "caches"
    assert capsys.readouterr().out == "freed 3 MiB\n"


def test_methods_names_each_choice_and_what_goes_together(capsys: pytest.CaptureFixture[str]) -> None:
    main(["methods", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["adapters"]["lora"] == "low-rank adapters"
    assert {"objective": "classify", "adapter": "head"} in document["pairs"]
    assert {"objective": "sft", "adapter": "head"} not in document["pairs"]


def test_doctor_measures_this_machine(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["torch"].startswith("2.")
    assert document["memory_bytes"] > 1 << 30
    assert document["gemm_gflops"] > 0
    assert {can["model"] for can in document["training"]} == {"smollm2-135m-instruct", "all-minilm-l6-v2"}
    assert document["healthy"]


def test_doctor_ends_with_1_where_something_must_be_mended(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.root.mkdir()
    (home.root / "luthier.db").write_bytes(b"not a database" * 1000)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "GFLOP/s" in out
    assert "- must be mended: " in out
