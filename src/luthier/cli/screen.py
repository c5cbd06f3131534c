"""What people see on stdout: short lines, and tables without frames.

At a terminal, prose is wrapped at its width between words; ids, paths and numbers are never cut. Elsewhere no
line is wrapped, so that it can be searched.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

UNLIMITED = 10**6
WIDEST = 100
"""Columns at which prose is wrapped on a wide terminal."""
NARROWEST = 24
"""Columns that a wrapped cell or value has at least."""
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Characters that move the cursor, clear the screen or turn the reading direction."""


def emit(document: Mapping[str, Any], as_json: bool, show: Callable[[Mapping[str, Any]], None]) -> None:
    """One JSON document for programs, or `show(document)` for people."""
    if as_json:
        from luthier.store.files import to_json

        print(to_json(document, indent=2))
    else:
        show(document)


def harmless(text: Any) -> str:
    """The text with its control characters spelt out (but for line breaks): data must not steer a terminal."""
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def one_line(text: Any) -> str:
    return harmless(" ".join(str(text).splitlines()))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = ()) -> None:
    """Print `rows` under `columns`; those named in `right` are aligned to the right, as numbers are.

    Only the last column is wrapped, between words, where the terminal is too narrow.
    """
    from rich.cells import cell_len

    cells = [list(columns), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    left = max(NARROWEST, terminal_width() - sum(widths[:-1]) - 2 * (len(widths) - 1))
    for row in cells:
        *first, last = row
        lines = wrapped(last, left)
        for index, line in enumerate(lines):
            begin = [*first, line] if index == 0 else [*("" for _ in first), line]
            gaps = [" " * (width - cell_len(cell)) for cell, width in zip(begin, widths, strict=True)]
            aligned = [gap + cell if name in right else cell + gap
                       for name, cell, gap in zip(columns, begin, gaps, strict=True)]  # fmt: skip
            print("  ".join(aligned).rstrip())


def when(moment: str) -> str:
    """`2026-11-21 15:12` of a stored time."""
    return moment[:16].replace("T", " ")


def heading(text: str) -> None:
    print(f"\n{one_line(text)}")


def facts(pairs: Iterable[tuple[str, Any]], wrap: bool = False) -> None:
    """Print `name  value` lines, the values in one column; pairs whose value is None are left out.

    `wrap` is for prose; commands and paths stay on one line, so that they can be copied.
    """
    shown = [(name, harmless(value)) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    room = max(NARROWEST, terminal_width() - width - 2) if wrap else UNLIMITED
    for name, value in shown:
        lines = [line for part in value.splitlines() or [""] for line in wrapped(part, room)]
        for index, line in enumerate(lines):
            print(f"{'' if index else name:<{width}}  {line}".rstrip())


def bullets(lines: Iterable[str]) -> None:
    """Print each line as a wrapped list item."""
    room = min(terminal_width(), WIDEST) if terminal_width() < UNLIMITED else UNLIMITED
    for line in lines:
        for index, part in enumerate(wrapped(one_line(line), room - 2)):
            print(f"{'  ' if index else '- '}{part}")


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` characters, broken between words only; at least one line."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [text]


def terminal_width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED
