"""A forest table: one row per thing measured, its interval drawn beside its figures on a shared axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from luthier.evaluate.report.charts import Scale, axis_row, dot_row, empty_row, nice_scale
from luthier.evaluate.report.reading import finite


@dataclass(frozen=True)
class Row:
    """`estimate` is drawn; `cells` are its figures as text; a row without a value says why in `missing`."""

    name: str
    estimate: dict[str, Any]
    cells: tuple[str, ...] = ()
    strong: bool = False
    missing: str = ""
    under: str = ""


@dataclass(frozen=True)
class Forest:
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Row, Markup], ...]
    axis: Markup
    note: str


def forest(
    caption: str,
    heads: tuple[str, ...],
    rows: Sequence[Row],
    note: str,
    *,
    scale: Scale,
    tick: Callable[[float], str],
    marks: Sequence[float] = (),
) -> Forest:
    """The table view of `rows`, drawn on `scale` with upright lines at `marks`."""
    drawn = tuple((row, _draw(scale, row, marks)) for row in rows)
    return Forest(caption, heads, drawn, axis_row(scale, tick), note)


def spanning(rows: Sequence[Row], *also: float, bounds: tuple[float, float] | None = None) -> Scale:
    """An axis of round ticks over every value and interval end of `rows`, and over `also`."""
    return nice_scale([*ends(rows), *also], bounds)


def ends(rows: Sequence[Row]) -> list[float]:
    """Every value and interval end that is drawn."""
    known = (finite(row.estimate.get(key)) for row in rows for key in ("value", "low", "high"))
    return [number for number in known if number is not None]


def with_interval(value: str, interval: str) -> Markup:
    """One cell: the value, then its interval."""
    return Markup('<b>{}</b> <span class="ci">{}</span>').format(value, interval)


def _draw(scale: Scale, row: Row, marks: Sequence[float]) -> Markup:
    value, low, high = (finite(row.estimate.get(key)) for key in ("value", "low", "high"))
    return (
        empty_row(scale, marks) if value is None else dot_row(scale, value, low, high, strong=row.strong, marks=marks)
    )
