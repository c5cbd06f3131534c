"""What `luthier run` prints at its end: at most 25 lines of 80 columns, but for the path of the report."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from luthier.evaluate.report.beside import of_second
from luthier.evaluate.report.charts import Scale
from luthier.evaluate.report.forest import Row, spanning
from luthier.evaluate.report.forgetting import TITLES, change, standing
from luthier.evaluate.report.measures import Measure, measure, solver_name, solver_phrase, solvers
from luthier.evaluate.report.numbers import THIN, count, duration, money, p_value, size
from luthier.evaluate.report.reading import Document, entries, finite, level, part
from luthier.evaluate.report.spending import misses
from luthier.evaluate.report.verdict import evidence, verdict

PLOT = 20
"""Characters of the drawn intervals."""
LISTED = 2
"""Reasons, next steps and forgetting checks that are printed; the report holds all."""
SOLVERS_LISTED = 4
WIDTH = 68
"""Characters of a reason's or next step's line; each has at most two."""


def terminal_summary(document: Document) -> RenderableType:
    """Verdict, solvers with intervals, the deciding difference, forgetting, and where the report lies."""
    word = verdict(document)["word"]
    style = {"ship": "bold cyan"}.get(str(document.get("verdict")), "bold")
    title = _text(document.get("model") or document.get("name") or document.get("run_id") or "")
    head = Text.assemble((word, style), "  ", title, no_wrap=True, overflow="ellipsis")
    summary = head, _text(evidence(document)), Text(), _solvers(document), Text(), _facts(document)
    return Group(*summary, _report(document))


def _solvers(document: Document) -> RenderableType:
    kind = measure(str(document.get("metric") or "score"))
    found = {name: part(scores, kind.name) for name, scores in solvers(document).items()}
    rows = [Row(name, estimate) for name, estimate in found.items() if finite(estimate.get("value")) is not None]
    if not rows:
        return Text("No held-out scores: the report says why.")
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "left", "right", "left", "right"):
        table.add_column(justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
    table.add_row(
        *(Text(head, "dim") for head in (kind.title, "", "value", f"{_plain(level(document))} interval", "n"))
    )
    scale = spanning(rows, bounds=kind.bounds)
    for row in rows[-SOLVERS_LISTED:]:
        table.add_row(*_solver_row(kind, scale, row), style="bold" if row.name == "tuned" else "")
    return table


def _solver_row(kind: Measure, scale: Scale, row: Row) -> Iterable[Text]:
    figures = kind.show(row.estimate["value"]), kind.interval(row.estimate), count(row.estimate.get("n"))
    return (_text(cell) for cell in (solver_name(row.name), _interval(scale, row.estimate), *figures))


def _interval(scale: Scale, estimate: dict[str, Any]) -> str:
    """An interval as characters: a dot on a line."""
    value, low, high = (_column(scale, estimate.get(key)) for key in ("value", "low", "high"))
    cells = [" "] * PLOT
    if low is not None and high is not None:
        cells[low : high + 1] = "─" * (high + 1 - low)
    if value is not None:
        cells[value] = "●"
    return "".join(cells)


def _column(scale: Scale, value: Any) -> int | None:
    number = finite(value)
    return None if number is None else round(scale.percent(number) / 100 * (PLOT - 1))


def _facts(document: Document) -> Table:
    """Labelled lines, each cut at the terminal's width."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True, min_width=10)
    table.add_column(overflow="fold")
    for label, lines in _labelled(document):
        for index, line in enumerate(lines):
            table.add_row("" if index else label, _text(line, no_wrap=True, overflow="ellipsis"))
    return table


def _report(document: Document) -> Text:
    """The whole path on one line, however long, so that it can be copied; and a link."""
    where = document.get("report")
    found = (_plain(where), f"link file://{quote(str(where))}") if where else ("not written", "")
    return Text.assemble(("Report      ", "dim"), found, no_wrap=True, overflow="ignore")


def _labelled(document: Document) -> Iterable[tuple[str, list[str]]]:
    yield (
        "Skipped",
        [f"{solver_name(name)}: {why}" for name, why in part(document, "skipped_baselines").items()],
    )
    yield "Difference", [_difference(document)]
    if part(document, "beside"):
        yield "Beside", [_beside(of_second(document))]
    yield "Forgetting", _forgetting(document)
    if document.get("verdict") != "ship":
        yield (
            "Why",
            _wrapped([str(text).replace("the tuned model is ", "", 1) for text in entries(document, "reasons")]),
        )
    yield "Next", _wrapped(entries(document, "next"))
    yield "Took", [_took(document)]
    if misses(document):
        yield "Forecast", [f"off. {line}" for line in misses(document)]
    warnings = entries(document, "warnings")
    if warnings:
        yield "Warnings", [f"{len(warnings)}, the first: {warnings[0]}"]


def _difference(document: Document) -> str:
    name = str(document.get("metric"))
    delta, kind = part(document, "delta", name), measure(name)
    if finite(delta.get("value")) is None:
        return "not measured: no baseline was evaluated on the same items"
    unit = " points" if kind.unit == "share" else ""
    rival = solver_phrase(str(delta.get("against") or document.get("best_baseline") or "the best baseline"))
    change = f"{kind.points(delta['value'])}{unit} {kind.change_interval(delta)}"
    return f"{change} against {rival}, {p_value(delta.get('p'))}"


def _beside(document: Document) -> str:
    """Value and difference of the second objective."""
    name = str(document.get("metric"))
    estimate, kind = solvers(document).get("tuned", {}).get(name, {}), measure(name)
    return f"{kind.title} {kind.show(estimate.get('value'))}, {_difference(document)}"


def _forgetting(document: Document) -> list[str]:
    lines = []
    for name in list(part(document, "forgetting"))[:LISTED]:
        check = part(document, "forgetting", name)
        if finite(check.get("delta")) is not None:
            value, interval = change(name, check)
            lines.append(f"{TITLES.get(name, name)}: {value} {interval}, {standing(name, check)}")
    return lines or ["not measured"]


def _took(document: Document) -> str:
    seconds, peak = finite(document.get("wall_seconds")), finite(document.get("peak_memory_bytes"))
    cost = finite(part(document, "actual").get("cost"))
    parts = [duration(seconds) if seconds is not None else "time not measured"]
    parts.append(f"{size(peak)} at the peak" if peak is not None else "memory not measured")
    return ", ".join([*parts, f"cost {money(cost)}"] if cost else parts)


def _wrapped(texts: list[Any]) -> list[str]:
    pieces = (textwrap.wrap(_plain(text), WIDTH, max_lines=2, placeholder=" …") for text in texts[:LISTED])
    return [line for lines in pieces for line in lines]


def _text(value: Any, **layout: Any) -> Text:
    return Text(_plain(value), **layout)


def _plain(value: Any) -> str:
    """One line without control characters: names and reasons must not steer the terminal."""
    text = " ".join(str(value).replace(THIN, "\u00a0").replace("`", "").split(" "))
    return "".join(letter if letter.isprintable() or letter == "\u00a0" else " " for letter in text)
