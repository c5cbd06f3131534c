"""The second objective of a run: what was learnt beside the first, and what that is worth."""

from __future__ import annotations

from typing import Any

from luthier.evaluate.report.answers import answers
from luthier.evaluate.report.comparison import comparison
from luthier.evaluate.report.numbers import count, significant
from luthier.evaluate.report.reading import Document, entries, finite, part
from luthier.evaluate.report.verdict import evidence, footing


def of_second(document: Document) -> Document:
    """The document as if the second objective were the run's only one; empty where it has none that was measured."""
    found = part(document, "beside")
    return {**document, **found} if found else {}


def beside(document: Document) -> dict[str, Any] | None:
    """The values and differences of the second objective, on its own held-out items; None where there is none."""
    own = of_second(document)
    if not own:
        return None
    weight = finite(own.get("weight"))
    what = f"`{own.get('objective') or 'a second objective'}`, {count(len(entries(own, 'labels')))} labels"
    counts = f", weight {significant(weight)}" if weight is not None else ""
    return {
        "aside": f"A second objective on the same weights: {what}{counts}. It answers held-out items of its own.",
        "evidence": evidence(own),
        "footing": footing(own),
        "comparison": comparison(own),
        "answers": answers(own),
    }
