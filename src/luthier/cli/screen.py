"""What people see on stdout: short lines, and tables without frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


def emit(document: Mapping[str, Any], as_json: bool, show: Callable[[Mapping[str, Any]], None]) -> None:
    """One JSON document for programs, or `show(document)` for people."""
    if as_json:
        from luthier.store.files import to_json

        print(to_json(document, indent=2))
    else:
        show(document)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = ()) -> None:
    """Print `rows` under `columns`; those named in `right` are aligned to the right, as numbers are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(str(cell)) for cell in row))
    Console(highlight=False).print(grid)


def heading(text: str) -> None:
    print(f"\n{text}")


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print `name  value` lines, the values in one column; pairs whose value is None are left out."""
    shown = [(name, value) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name:<{width}}  {value}")


def bullets(lines: Iterable[str]) -> None:
    """Print each line as a wrapped list item."""
    import shutil
    import textwrap

    width = min(shutil.get_terminal_size().columns, 100)
    for line in lines:
        print(textwrap.fill(line, width, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False))
