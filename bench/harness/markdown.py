"""Markdown that docs/benchmarks.md is made of."""

from __future__ import annotations

from typing import Any


def part(title: str, command: str, *lines: str, level: int = 2) -> str:
    """A section: its title, the command, and what was found."""
    return "\n\n".join([f"{'#' * level} {title}", f"```console\n$ {command}\n```", *lines]) + "\n"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def span(value: dict[str, Any]) -> str:
    """A value with its interval."""
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def accuracy(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.2f} %"


def gemms(values: list[float]) -> str:
    """The speed of the machine before, between and after."""
    return f"{', '.join(f'{value:.0f}' for value in values)} GFLOP/s"


def times(ratio: float | None) -> str:
    """How many times as fast."""
    return "" if ratio is None else f"{ratio:.2f} ×"
