"""Answers side by side: where tuning mended an item, and where it broke one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from luthier.evaluate.json_answer import first_object
from luthier.evaluate.report.measures import solver_name
from luthier.evaluate.report.numbers import count
from luthier.evaluate.report.reading import Document, absent, finite, part, records
from luthier.evaluate.report.words import Field, as_reference, clipped, fields, marked, plain

SHOWN = 12
"""Answers of each kind on the page; the run folder holds all of them."""


@dataclass(frozen=True)
class Answer:
    """One candidate's answer: as text, with marks, and whether it has no fields where the others do."""

    plain: str
    text: Markup
    lacks_fields: bool


@dataclass(frozen=True)
class Item:
    row_id: str
    turns: tuple[tuple[str, str], ...]
    reference: str
    baseline: Answer
    tuned: Answer
    fields: tuple[Field, ...]


def answers(document: Document) -> dict[str, Any]:
    counts = part(document, "samples", "counts")
    kinds = ("improved", "worsened")
    shared = _shared_prompt([sample for kind in kinds for sample in records(document, "samples", kind)])
    groups = [_group(document, kind, counts.get(kind), shared) for kind in kinds]
    return {
        "shared": clipped(shared),
        "baseline": solver_name(str(document.get("best_baseline") or "baseline")),
        "groups": groups if any(group["items"] for group in groups) else [],
        "square": _square(counts),
        "absent": absent(document, "samples", "the run document holds no answers"),
    }


def _shared_prompt(samples: list[dict[str, Any]]) -> str:
    """The system prompt, where all samples have the same one; it is then shown once."""
    prompts = {_system(sample.get("question")) for sample in samples}
    return prompts.pop() if len(prompts) == 1 else ""


def _system(question: Any) -> str:
    first = question[0] if isinstance(question, list | tuple) and question else None
    return plain(first.get("content")) if isinstance(first, dict) and first.get("role") == "system" else ""


def _group(document: Document, kind: str, total: Any, shared: str) -> dict[str, Any]:
    samples = records(document, "samples", kind)
    items = [_item(sample, shared) for sample in samples[:SHOWN]]
    known = finite(total)
    heading = {"improved": "Improved", "worsened": "Got worse"}[kind]
    shown = f"{len(items)} of {count(known)} shown" if known is not None else f"{len(items)} shown"
    return {"kind": kind, "heading": heading, "shown": shown, "items": items}


def _item(sample: dict[str, Any], shared: str) -> Item:
    reference = sample.get("reference")
    target = as_reference(reference)
    objects = [first_object(plain(sample.get(who))) if target else None for who in ("baseline", "tuned")]
    compared = fields(target, objects[0], objects[1]) if target and any(one is not None for one in objects) else []
    expected = plain(reference)
    both = [
        Answer(
            clipped(plain(sample.get(who))),
            marked(plain(sample.get(who)), expected),
            bool(compared) and one is None,
        )
        for who, one in zip(("baseline", "tuned"), objects, strict=True)
    ]
    turns = _turns(sample.get("question"))[1 if shared else 0 :]
    return Item(str(sample.get("row_id") or "row"), turns, clipped(expected), both[0], both[1], tuple(compared))


def _turns(question: Any) -> tuple[tuple[str, str], ...]:
    """The question as (role, text); a bare text has no role."""
    if isinstance(question, list | tuple):
        return tuple(
            (str(turn.get("role", "")), clipped(plain(turn.get("content"))))
            for turn in question
            if isinstance(turn, dict)
        )
    return (("", clipped(plain(question))),)


def _square(counts: dict[str, Any]) -> dict[str, Any] | None:
    """Right and wrong, tuned against baseline, with margins; None where a count is missing."""
    kept = {name: finite(counts.get(name)) for name in ("both_right", "worsened", "improved", "both_wrong")}
    known = {name: number for name, number in kept.items() if number is not None}
    if len(known) < len(kept):
        return None
    tuned = (known["both_right"] + known["improved"], known["worsened"] + known["both_wrong"])
    cells = {**known, "tuned_right": tuned[0], "tuned_wrong": tuned[1], "n": sum(tuned)}
    cells["baseline_right"] = known["both_right"] + known["worsened"]
    cells["baseline_wrong"] = known["improved"] + known["both_wrong"]
    return {name: count(number) for name, number in cells.items()}
