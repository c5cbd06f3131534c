"""Feedback as people work with it: added, reviewed, and turned into rows to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luthier.data.prepared import Task
from luthier.data.sources.jsonl import read_jsonl
from luthier.errors import DataError, NotFound
from luthier.feedback.answers import answer, asked_text, question
from luthier.feedback.curate import Wishes
from luthier.feedback.curate import curate as curate_rows
from luthier.feedback.gather import LEARNS
from luthier.feedback.receive import receive
from luthier.feedback.said import Said
from luthier.registry import versions
from luthier.store import Home, feedback
from luthier.store.feedback import Answered, Feedback, Review
from luthier.store.models import ModelVersion


def add(home: Home, items: Sequence[Any] | None, file: Path | None = None) -> list[dict[str, Any]]:
    """Store pieces of feedback, or those of a file of JSON Lines; all of them, or none.

    Raises a LuthierError where one is wrong, or its answer is not there.
    """
    if file is not None:
        if not file.is_file():
            raise DataError("there is no such file", str(file), "Give a file of JSON Lines")
        items = read_jsonl(file, file.name).rows
    return [asdict(row) for row in receive(home, items or [])]


def curate(home: Home, model: str, wishes: Wishes) -> dict[str, Any]:
    """Turn what was said of a model's answers into dataset versions, one for each task that has rows.

    `model` is named as in the registry; what is not in it counts as a base model by the name it was served under. The
    held-out rows are those of the version that is named.
    """
    found = _registered(home, model)
    name, held = (found.name, found.dataset_version) if found else (model, None)
    said = [Said(*pair) for pair in feedback.of_models(home, name)]
    kinds = {one.row.kind for one in said}
    telling = {"generate": {"rating", "correction"}, "preference": {"choice", "correction"}, "classify": {"label"}}
    tasks = [task for task in LEARNS if kinds & telling[task]]
    datasets = [curate_task(home, said, task, held, None, wishes) for task in tasks]
    return {
        "model": found.ref if found else model, "held_out": held, "feedback": len(said),
        "without_answer": feedback.without_answer(home), "datasets": datasets,
    }  # fmt: skip


def curate_task(
    home: Home, said: Sequence[Said], task: Task, held: str | None, earlier: str | None, wishes: Wishes
) -> dict[str, Any]:
    """A dataset version for one task, and what became of all feedback, JSON-ready."""
    done = curate_rows(home, said, task, held=held, earlier=earlier, wishes=wishes)
    return {
        "task": task, "dataset": done.dataset, "rows": done.rows, "parents": done.parents,
        "steps": [asdict(step) for step in done.prepared.steps], "notes": done.prepared.notes,
        "left": [{"feedback": left.said.row.id, "reason": left.reason} for left in done.gathered.left],
        "rejected": [{"row_id": reject.example.row_id, "step": reject.step, "reason": reject.reason}
                     for reject in done.prepared.rejects],
    }  # fmt: skip


def pending(home: Home, model: str) -> list[dict[str, Any]]:
    """What was said of a model's answers and nobody has looked at: question, answer, feedback; oldest first."""
    found = _registered(home, model)
    said = feedback.of_models(home, found.name if found else model)
    return [{**asdict(row), "served": trace.served, **_shown(row, trace)} for row, trace in said if row.review is None]


def _shown(row: Feedback, trace: Answered) -> dict[str, Any]:
    """The question and the answer that a piece of feedback is of, as far as they can be read."""
    try:
        if row.kind == "label":
            return {"question": asked_text(trace), "answer": None}
        asked = question(trace)[0][-1].get("content")
        return {"question": asked, "answer": answer(trace, row.value.get("index", 0)).get("content")}
    except DataError as error:
        return {"question": None, "answer": error.what}


def decide(home: Home, accept: Sequence[str], reject: Sequence[str]) -> dict[str, Any]:
    """Keep a person's decisions. Raises NotFound for an id that is not there; then none is kept."""
    both = sorted(set(accept) & set(reject))
    if both:
        raise DataError(f"{both[0]} is accepted and rejected at once", "feedback review", "Name it once")
    decisions: dict[str, Review] = dict.fromkeys(accept, "accepted")
    feedback.set_review(home, decisions | dict.fromkeys(reject, "rejected"))
    return {"accepted": list(accept), "rejected": list(reject)}


def _registered(home: Home, model: str) -> ModelVersion | None:
    try:
        return versions.get(home, model)
    except NotFound:
        return None
