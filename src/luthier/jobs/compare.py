"""Two runs' tuned models on the rows that both were tested on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from luthier.errors import NotFound
from luthier.evaluate.paired import compare as paired
from luthier.evaluate.scores import Scores
from luthier.store import Home, runs


def compare(home: Home, run_a: str, run_b: str) -> dict[str, Any]:
    """`{a, b, metrics: {metric: {a, b, delta}}}`; a positive difference says that `run_b` is better.

    Raises NotFound where a run has no scores, DataError where the two were tested on different rows.
    """
    first, second = runs.get(home, run_a), runs.get(home, run_b)
    left, right = _scores(home, first.id), _scores(home, second.id)
    level = float(second.recipe["evaluate"]["confidence"])
    both = [metric for metric in left.metrics if metric in right.metrics]
    return {"a": first.id, "b": second.id, "metrics": {
        metric: {"a": asdict(left.estimate(metric, level)), "b": asdict(right.estimate(metric, level)),
                 "delta": asdict(paired(right, left, metric, level))} for metric in both}}  # fmt: skip


def _scores(home: Home, run_id: str) -> Scores:
    path = runs.run_folder(home, run_id) / "scores" / "tuned.jsonl"
    if not path.exists():
        raise NotFound("the run has no scores of a tuned model", run_id, "Let it finish: repeat its command")
    return Scores.from_jsonl(path.read_text(encoding="utf-8"))
