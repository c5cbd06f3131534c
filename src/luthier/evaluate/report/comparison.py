"""The tuned model beside its baselines: values, paired differences and slices, as forest tables."""

from __future__ import annotations

from typing import Any

from luthier.evaluate.report.forest import Forest, Row, forest, spanning, with_interval
from luthier.evaluate.report.measures import Measure, measure, metrics, solver_name, solver_phrase, solvers
from luthier.evaluate.report.numbers import count, p_value
from luthier.evaluate.report.reading import Document, absent, finite, level, part, records, unmeasured


def comparison(document: Document) -> dict[str, Any]:
    """One group per metric, the deciding one first: a table of values and a table of paired differences."""
    groups = [
        {
            "title": measure(name).title,
            "values": _values(document, measure(name)),
            "differences": _differences(document, measure(name)),
        }
        for name in metrics(document)
    ]
    found = [group for group in groups if group["values"]]
    return {
        "groups": found,
        "absent": absent(document, "solvers", "the run document holds no held-out scores"),
        "no_differences": absent(document, "deltas", "no baseline was evaluated on the same items"),
    }


def slices(document: Document) -> dict[str, Any]:
    """The deciding metric of the tuned model within each slice of the held-out items."""
    found, kind = records(document, "slices"), measure(str(document.get("metric") or "score"))
    overall = finite(solvers(document).get("tuned", {}).get(kind.name, {}).get("value"))
    rows = [Row(str(cut.get("name")), cut, _figures(kind, cut), strong=True) for cut in found]
    note = f"{_brackets(document, kind, found)} n is the number of held-out items in the slice."
    if overall is not None:
        note += f" The upright line is the value over all items, {kind.show(overall)}."
    table = forest(
        f"{kind.title} of the tuned model within slices of the held-out items",
        ("Slice", f"{kind.title} [interval]", "n"),
        rows,
        note,
        scale=spanning(rows, bounds=kind.bounds),
        tick=kind.tick,
        marks=() if overall is None else (overall,),
    )
    return {
        "table": table if rows else None,
        "absent": absent(document, "slices", "the run names no slices of its held-out items"),
    }


def _values(document: Document, kind: Measure) -> Forest | None:
    found = {name: part(scores, kind.name) for name, scores in solvers(document).items()}
    rows = [
        Row(solver_name(name), estimate, _figures(kind, estimate), strong=name == "tuned")
        for name, estimate in found.items()
        if finite(estimate.get("value")) is not None
    ]
    if not rows:
        return None
    for name, why in part(document, "skipped_baselines").items():
        rows.insert(len(rows) - 1, Row(solver_name(name), {}, missing=unmeasured(why)))
    direction = "Lower is better" if kind.lower_is_better else "Higher is better"
    note = f"{direction}. {_brackets(document, kind, list(found.values()))} n is the number of held-out items."
    heads = ("Solver", f"{kind.title} [interval]", "n")
    caption = f"{kind.title} on held-out items"
    return forest(caption, heads, rows, note, scale=spanning(rows, bounds=kind.bounds), tick=kind.tick)


def _differences(document: Document, kind: Measure) -> Forest | None:
    found = {name: part(document, "deltas", name, kind.name) for name in part(document, "deltas")}
    best = part(document, "delta", kind.name)
    if best and not any(found.values()):
        found = {str(best.get("against") or document.get("best_baseline") or "best baseline"): best}
    rows = [
        Row(f"against {solver_phrase(name)}", delta, _changes(kind, delta), strong=True)
        for name, delta in found.items()
        if finite(delta.get("value")) is not None
    ]
    if not rows:
        return None
    methods = dict.fromkeys(str(delta["method"]) for delta in found.values() if delta.get("method"))
    note = (
        f"In {kind.difference_unit}; right of 0 means that the tuned model is better. Both answer the same n "
        f"items. Brackets: {level(document)} interval; {'; '.join(methods) or 'method not recorded'}."
    )
    minus = "Baseline minus tuned" if kind.lower_is_better else "Tuned minus baseline"
    heads = (minus, "Difference [interval]", "p", "n")
    caption = f"Paired difference in {kind.title[0].lower() + kind.title[1:]}, item by item"
    scale = spanning(rows, 0.0)
    return forest(caption, heads, rows, note, scale=scale, tick=kind.change_tick, marks=(0.0,))


def _figures(kind: Measure, estimate: dict[str, Any]) -> tuple[str, ...]:
    return with_interval(kind.show(estimate.get("value")), kind.interval(estimate)), count(estimate.get("n"))


def _changes(kind: Measure, delta: dict[str, Any]) -> tuple[str, ...]:
    p = p_value(delta.get("p")).removeprefix("p\u00a0").removeprefix("=\u00a0")
    return (
        with_interval(kind.points(delta.get("value")), kind.change_interval(delta)),
        p,
        count(delta.get("n")),
    )


def _brackets(document: Document, kind: Measure, estimates: list[dict[str, Any]]) -> str:
    if not any(finite(estimate.get("low")) is not None for estimate in estimates):
        return "No interval was computed."
    return f"Brackets: {level(document)} interval ({kind.method})."
