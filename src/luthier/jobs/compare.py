"""Two runs' tuned models on the rows that both were tested on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from luthier.errors import NotFound
from luthier.evaluate.paired import compare as paired
from luthier.evaluate.scores import Scores
from luthier.jobs.second import PREFIX
from luthier.store import Home, runs


def compare(home: Home, run_a: str, run_b: str) -> dict[str, Any]:
    """`{a, b, metrics: {metric: {a, b, delta}}}`; a positive difference says that `run_b` is better.

    The metrics of a second objective begin with `beside/`.

    Raises NotFound where a run has no scores, DataError where the two were tested on different rows.
    """
    first, second = runs.get(home, run_a), runs.get(home, run_b)
    level = float(second.recipe["evaluate"]["confidence"])
    found: dict[str, Any] = {}
    for prefix in ("", PREFIX):
        left, right = _scores(home, first.id, prefix), _scores(home, second.id, prefix)
        if left is not None and right is not None:
            found |= {prefix + metric: entry for metric, entry in _compared(left, right, level).items()}
        elif not prefix:
            run_id = first.id if left is None else second.id
            raise NotFound("the run has no scores of a tuned model", run_id, "Let it finish: repeat its command")
    return {"a": first.id, "b": second.id, "metrics": found}


def _compared(left: Scores, right: Scores, level: float) -> dict[str, Any]:
    both = [metric for metric in left.metrics if metric in right.metrics]
    return {
        metric: {"a": asdict(left.estimate(metric, level)), "b": asdict(right.estimate(metric, level)),
                 "delta": asdict(paired(right, left, metric, level))} for metric in both}  # fmt: skip


def _scores(home: Home, run_id: str, prefix: str) -> Scores | None:
    path = runs.run_folder(home, run_id) / "scores" / f"{prefix}tuned.jsonl"
    return Scores.from_jsonl(path.read_text(encoding="utf-8")) if path.exists() else None
