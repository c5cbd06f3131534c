"""What the model learnt from: sources, what each step dropped and why, splits, what counted in the loss."""

from __future__ import annotations

from typing import Any

from luthier.evaluate.report.charts import bar
from luthier.evaluate.report.numbers import count, share
from luthier.evaluate.report.reading import Document, absent, entries, finite, part, records

REASONS_SHOWN = 5
"""Different reasons named for each step; the rest are summed."""


def data(document: Document) -> dict[str, Any]:
    return {
        "version": part(document, "data").get("version") or document.get("dataset_version"),
        "sources": [_source(source) for source in records(document, "data", "sources")],
        "steps": [_step(step) for step in records(document, "data", "steps")],
        "splits": _splits(part(document, "data", "splits")),
        "coverage": _coverage(part(document, "data", "coverage")),
        "notes": [str(note) for note in entries(document, "data", "notes")],
        "no_sources": absent(document, "sources", "the run document names no sources"),
        "no_steps": absent(document, "steps", "the run document holds no counts by step"),
        "no_splits": absent(document, "splits", "the run document holds no split sizes"),
        "no_coverage": absent(document, "coverage", "no token counts were recorded"),
    }


def _source(source: dict[str, Any]) -> dict[str, str]:
    return {
        "path": str(source.get("path") or "unnamed"),
        "type": str(source.get("type") or "unknown"),
        "why": str(source.get("why") or ""),
        "rows": count(source.get("rows")),
        "licence": str(source.get("licence") or "none named"),
        "sha256": str(source.get("sha256") or ""),
    }


def _step(step: dict[str, Any]) -> dict[str, Any]:
    rows_in, rows_out = finite(step.get("rows_in")), finite(step.get("rows_out"))
    dropped = None if rows_in is None or rows_out is None else rows_in - rows_out
    return {
        "name": str(step.get("name") or "step").replace("_", " "),
        "rows_in": count(rows_in),
        "rows_out": count(rows_out),
        "dropped": count(dropped),
        "reasons": _reasons(part(step, "dropped")) + [f"changed: {count(n)}" for n in [step.get("changed")] if n],
    }


def _reasons(dropped: dict[str, Any]) -> list[str]:
    """The most frequent reasons with their rows; the others as one sum."""
    ranked = sorted(((finite(rows) or 0.0, reason) for reason, rows in dropped.items()), key=lambda pair: -pair[0])
    named = [f"{reason}: {count(rows)}" for rows, reason in ranked[:REASONS_SHOWN]]
    rest = ranked[REASONS_SHOWN:]
    if rest:
        named.append(f"{count(len(rest))} other reasons: {count(sum(rows for rows, _ in rest))}")
    return named


def _splits(splits: dict[str, Any]) -> list[dict[str, Any]]:
    known = {name: number for name, rows in splits.items() if (number := finite(rows)) is not None}
    total = sum(known.values()) or 1.0
    return [
        {"name": name, "rows": count(rows), "share": share(rows / total), "bar": bar([rows / total])}
        for name, rows in known.items()
    ]


def _coverage(coverage: dict[str, Any]) -> list[tuple[str, str]]:
    if not coverage:
        return []
    tokens, trained = finite(coverage.get("tokens")), finite(coverage.get("trained_tokens"))
    portion = f" ({share(trained / tokens)} of all)" if tokens and trained is not None else ""
    return [
        ("Tokens", count(tokens)),
        ("Tokens that count in the loss", count(trained) + portion),
        ("Truncated rows", count(coverage.get("truncated"))),
        ("Longest row, tokens", count(coverage.get("longest"))),
    ]
