"""Small SVG drawings. Horizontal positions are percentages, so every drawing stretches with the page without
distorting its marks; colours and line widths come from style.css."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """A linear axis from `low` to `high` with round tick values inside it."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def percent(self, value: float) -> float:
        """The position of a value in percent of the axis, kept within 0 and 100."""
        return round(min(max((value - self.low) / (self.high - self.low), 0.0), 1.0) * 100, 2)


def nice_scale(values: Iterable[float], bounds: tuple[float, float] | None = None, steps: int = 5) -> Scale:
    """The shortest axis of round ticks around `values`, inside `bounds`; about `steps` intervals."""
    found = list(values) or [0.0, 1.0]
    low, high = min(found), max(found)
    if high - low < 1e-9:
        low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    step = _round_step((high - low) / steps)
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = [round(index * step, 10) for index in range(first, last + 1)]
    if bounds:
        ticks = [tick for tick in ticks if bounds[0] - 1e-9 <= tick <= bounds[1] + 1e-9]
    return Scale(ticks[0], ticks[-1], tuple(ticks)) if len(ticks) > 1 else Scale(low, high, tuple(ticks))


def _round_step(rough: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(size * magnitude for size in (1, 2, 2.5, 5, 10) if size * magnitude >= rough * 0.999)


def dot_row(
    scale: Scale,
    value: float,
    low: float | None,
    high: float | None,
    *,
    strong: bool,
    marks: Sequence[float] = (),
) -> Markup:
    """One row of a forest plot: grid lines, marked values, the interval as a bar and the value as a dot."""
    parts = [_grid(scale), *(_upright(scale, mark, "mark") for mark in marks)]
    if low is not None and high is not None:
        parts.append(
            Markup('<line class="interval" x1="{}%" x2="{}%" y1="50%" y2="50%"/>').format(
                scale.percent(low), scale.percent(high)
            )
        )
    parts.append(
        Markup('<circle class="dot" cx="{}%" cy="50%" r="{}"/>').format(scale.percent(value), 5 if strong else 4)
    )
    return _row(parts, "strong" if strong else "plain")


def empty_row(scale: Scale, marks: Sequence[float] = ()) -> Markup:
    return _row([_grid(scale), *(_upright(scale, mark, "mark") for mark in marks)], "plain")


def axis_row(scale: Scale, label: Callable[[float], str]) -> Markup:
    """The tick labels under a forest plot."""
    text = Markup('<text class="tick" x="{}%" y="14">{}</text>')
    return _row([text.format(scale.percent(tick), label(tick)) for tick in scale.ticks], "axis")


def bar(shares: Sequence[float]) -> Markup:
    """A stacked horizontal bar; `shares` sum to at most 1."""
    parts, left = [], 0.0
    for index, share in enumerate(shares):
        parts.append(
            Markup('<rect class="fill{}" x="{}%" width="{}%" y="50%" height="8" transform="translate(0 -4)"/>').format(
                index, round(left * 100, 2), round(max(share, 0.0) * 100, 2)
            )
        )
        left += share
    return _row(parts, "bar")


def curve(
    points: Sequence[Point], steps: Scale, label: Callable[[float], str], best: float | None, description: str
) -> Markup:
    """A line over `steps`: level lines with labels, the best step as an upright, dots where they are few."""
    drawn = thin(points, 240)
    heights = nice_scale((value for _, value in points), steps=3)
    where = [(steps.percent(step), round(100 - heights.percent(value), 2)) for step, value in drawn]
    path = "M" + "L".join(f"{x} {y}" for x, y in where)
    line = Markup('<svg viewBox="0 0 100 100" preserveAspectRatio="none"><path class="line" d="{}"/></svg>').format(
        path
    )
    dots = (
        [Markup('<circle class="dot" cx="{}%" cy="{}%" r="3"/>').format(x, y) for x, y in where]
        if len(where) <= 24
        else []
    )
    marker = [_upright(steps, best, "mark")] if best is not None else []
    body = Markup("").join([*_levels(heights, label), *marker, line, *dots])
    return Markup('<svg class="curve" role="img" aria-label="{}">{}</svg>').format(description, body)


def thin(points: Sequence[Point], limit: int) -> list[Point]:
    """About `limit` points that keep the outline: the lowest and the highest of each stretch, in order."""
    if len(points) <= limit:
        return list(points)
    width = math.ceil(2 * len(points) / limit)
    kept: list[Point] = []
    for start in range(0, len(points), width):
        stretch = points[start : start + width]
        kept += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return sorted({points[0], *kept, points[-1]})


def _levels(heights: Scale, label: Callable[[float], str]) -> list[Markup]:
    rule = Markup(
        '<line class="grid" x1="0" x2="100%" y1="{0}%" y2="{0}%"/><text class="level" x="-6" y="{0}%">{1}</text>'
    )
    return [rule.format(round(100 - heights.percent(tick), 2), label(tick)) for tick in heights.ticks]


def _grid(scale: Scale) -> Markup:
    return Markup("").join(_upright(scale, tick, "grid") for tick in scale.ticks)


def _upright(scale: Scale, value: float, kind: str) -> Markup:
    return Markup('<line class="{0}" x1="{1}%" x2="{1}%" y1="0" y2="100%"/>').format(kind, scale.percent(value))


def _row(parts: Iterable[Markup], kind: str) -> Markup:
    return Markup('<svg class="row {}" aria-hidden="true">{}</svg>').format(kind, Markup("").join(parts))
