"""`luthier evaluate` on preference pairs: a base model, a tuned one, and rows that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from works import CHATS, PAIRS, recipe

from luthier.errors import DataError
from luthier.jobs.evaluate import evaluate
from luthier.jobs.reporting import Silent
from luthier.jobs.run import run
from luthier.store import Home

SMALL = ("train.max_steps=2", "train.batch_size=4", "evaluate.forgetting=false", "evaluate.baselines=[base]")


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_base_model_ranks_answers_by_their_likelihood(tiny_llama: Path, tmp_path: Path) -> None:
    found = evaluate(str(tiny_llama), jsonl(tmp_path / "p.jsonl", PAIRS), Home(tmp_path / "home"), Silent())
    assert (found["rows"], found["scores"].keys()) == (40, {"preference_accuracy"})
    assert all(sample["extra"]["margin"] for sample in found["samples"])
    assert {sample["prediction"] for sample in found["samples"]} <= {
        row[name] for row in PAIRS for name in ("chosen", "rejected")
    }


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["dpo", "reward"])
def test_a_run_from_a_file_of_pairs_ends_with_a_verdict_and_can_be_evaluated(
    objective: str, tiny_llama: Path, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    document = run(recipe(tmp_path, tiny_llama, PAIRS, objective=objective), SMALL, home)
    assert document["verdict"] in ("ship", "hold")
    assert document["metric"] == "preference_accuracy"
    assert "Preference accuracy" in Path(document["report"]).read_text()
    assert "preference_accuracy" in (Path(document["report"]).parent / "card.md").read_text()
    again = evaluate(document["model"], jsonl(tmp_path / "p.jsonl", PAIRS), home, Silent())
    assert again["scores"]["preference_accuracy"]["n"] == 40
    with pytest.raises(DataError, match=f"another kind than those of the model's `{objective}`"):
        evaluate(document["model"], jsonl(tmp_path / "c.jsonl", CHATS), home, Silent())
