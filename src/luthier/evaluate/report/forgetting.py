"""What the model lost by being tuned, drawn against what it may lose."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from luthier.evaluate.report.charts import Scale
from luthier.evaluate.report.forest import Forest, Row, ends, forest, with_interval
from luthier.evaluate.report.measures import measure
from luthier.evaluate.report.numbers import count, fixed, share
from luthier.evaluate.report.reading import Document, absent, finite, level, part

TITLES = {"questions": "General questions", "text_nll": "General text (NLL)"}


def forgetting(document: Document) -> dict[str, Any]:
    """One row per check; its drawing is the change in units of its margin, worse to the left."""
    found = {name: part(document, "forgetting", name) for name in part(document, "forgetting")}
    found = {name: check for name, check in found.items() if finite(check.get("delta")) is not None}
    why = "the run document holds no forgetting results"
    if part(document, "recipe", "evaluate").get("forgetting") is False:
        why = "evaluate.forgetting is off in the recipe"
    return {
        "table": _table(document, found) if found else None,
        "absent": absent(document, "forgetting", why),
    }


def standing(name: str, check: dict[str, Any]) -> str:
    """Where the change lies beside its margin: `within`, `may be past` (by its interval) or `past`."""
    drawn = _in_margins(name, check)
    if drawn is None:
        return "no margin given"
    lowest = min(end for end in drawn.values() if end is not None)
    if drawn["value"] < -1:
        return "past the margin"
    return "may be past the margin" if lowest < -1 else "within the margin"


def change(name: str, check: dict[str, Any]) -> tuple[str, str]:
    """The change and its interval as text, in the check's own unit."""
    kind = measure(name)
    return kind.points(check.get("delta")) + (" points" if kind.unit == "share" else ""), kind.change_interval(check)


def _table(document: Document, found: dict[str, dict[str, Any]]) -> Forest:
    rows = [_row(name, check) for name, check in found.items()]
    note = (
        "The plot shows the change in units of the margin, the loss that the recipe allows "
        f"(evaluate.forgetting_margin); worse is to the left. Brackets: {level(document)} interval of the "
        "paired change, tuned minus base. n is the number of questions or texts."
    )
    heads = ("Check", "Base → tuned", "Change [interval]", "Margin", "n")
    drawn = ends(rows)
    scale = Scale(min([-1.25, *drawn]), max([0.25, *drawn]), (-1.0, 0.0))
    caption = "Abilities outside the task, before and after tuning"
    return forest(
        caption,
        heads,
        rows,
        note,
        scale=scale,
        tick=lambda at: "margin" if at else "no change",
        marks=(-1.0,),
    )


def _row(name: str, check: dict[str, Any]) -> Row:
    kind = measure(name)
    margin = share(check.get("margin"), 1) if kind.unit != "nats" else fixed(check.get("margin"), 3)
    before_after = f"{kind.show(check.get('base'))} → {kind.show(check.get('tuned'))}"
    cells = (before_after, with_interval(*change(name, check)), margin, count(check.get("n")))
    title, drawn = TITLES.get(name, kind.title), _in_margins(name, check)
    return Row(title, drawn or {}, cells, strong=True, under=_told(standing(name, check)))


def _told(standing: str) -> str:
    return standing if standing == "within the margin" else Markup("<strong>{}</strong>").format(standing)


def _in_margins(name: str, check: dict[str, Any]) -> dict[str, Any] | None:
    """The change in units of its margin, negative where the tuned model is worse; None without a margin."""
    margin = finite(check.get("margin"))
    if not margin or finite(check.get("delta")) is None:
        return None
    sign = -1.0 if measure(name).lower_is_better else 1.0
    ends = {"value": check.get("delta"), "low": check.get("low"), "high": check.get("high")}
    return {key: None if (number := finite(end)) is None else sign * number / margin for key, end in ends.items()}
