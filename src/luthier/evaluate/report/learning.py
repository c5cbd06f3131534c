"""The learning curves: one drawing per curve, all over the same steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from luthier.evaluate.report.charts import Point, Scale, curve
from luthier.evaluate.report.measures import measure
from luthier.evaluate.report.numbers import count, fixed, plain_tick, significant
from luthier.evaluate.report.reading import Document, absent, entries, finite, part, records
from luthier.evaluate.report.words import clipped, plain

FEWEST = 2
"""Points that make a curve."""


def learning(document: Document) -> dict[str, Any]:
    best = finite(document.get("best_step"))
    names = [
        "train_loss",
        *(name for name in part(document, "curves") if name not in ("train_loss", "learning_rate")),
    ]
    steps = _steps(document, (*names, "learning_rate"))
    panels = [_panel(document, name, steps, best) for name in (*names, "learning_rate")]
    drawn = any(panel["drawing"] for panel in panels)
    return {
        "panels": panels if drawn else [],
        "first": count(steps.low),
        "last": count(steps.high),
        "best": "" if best is None else count(best),
        "absent": absent(document, "curves", "the run document holds no learning curve"),
        "hardest": [_hard(row) for row in records(document, "hardest")],
    }


def _hard(row: dict[str, Any]) -> dict[str, str]:
    """A training row whose loss is large, and that loss."""
    texts = {name: clipped(plain(row.get(name))) for name in ("question", "answer")}
    return {"row_id": str(row.get("row_id") or "row"), "loss": fixed(row.get("loss"), 2), **texts}


def _steps(document: Document, names: Sequence[str]) -> Scale:
    """The steps that all curves are drawn over."""
    steps = [step for name in names for step, _ in _points(document, name)] or [0.0]
    return Scale(min(steps), max(*steps, min(steps) + 1), ())


def _panel(document: Document, name: str, steps: Scale, best: float | None) -> dict[str, Any]:
    points = _points(document, name)
    title, show, tick = _naming(name)
    if len(points) < FEWEST:
        return {
            "title": title,
            "drawing": None,
            "absent": absent(document, name, f"logged {len(points)} times, and a curve needs {FEWEST} points"),
        }
    (first, start), (last, end) = points[0], points[-1]
    low, high = min(points, key=lambda point: point[1]), max(points, key=lambda point: point[1])
    summary = f"{show(start)} at step {first:.0f}, {show(end)} at step {last:.0f}"
    span = f"lowest {show(low[1])} at step {low[0]:.0f}, highest {show(high[1])} at step {high[0]:.0f}"
    described = f"{title} over steps: {summary}; {span}."
    return {
        "title": title,
        "drawing": curve(points, steps, tick, best, described),
        "summary": summary,
        "span": span,
        "table": [(count(step), show(value)) for step, value in points] if len(points) <= 40 else [],
    }


def _naming(name: str) -> tuple[str, Callable[[float], str], Callable[[float], str]]:
    """The title of a curve, how its values are written, and how its axis is."""
    if name == "learning_rate":
        return "Learning rate", significant, significant
    if name == "train_loss":
        return "Train loss", lambda value: fixed(value, 3), plain_tick
    kind = measure(name.removeprefix("validation_"))
    validated = name.startswith("validation_")
    title = f"Validation, {kind.title[0].lower()}{kind.title[1:]}" if validated else kind.title
    return title, kind.show, kind.tick


def _points(document: Document, name: str) -> list[Point]:
    """The finite points of a curve, in the order of their steps."""
    pairs = [pair for pair in entries(document, "curves", name) if isinstance(pair, list | tuple) and len(pair) == 2]
    points = [(finite(step), finite(value)) for step, value in pairs]
    return sorted((step, value) for step, value in points if step is not None and value is not None)
