"""CSV, TSV and the like, read strictly: every record as wide as the header, every quote closed."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from luthier.data.sources.encoding import read_text
from luthier.data.sources.faults import Faults
from luthier.data.sources.table import Row, Table
from luthier.errors import DataError

DELIMITERS = (",", ";", "\t", "|")
SNIFFED_CHARS = 65536

Record = tuple[int, list[str]]
"""The line on which a record starts, and its cells."""


def read_delimited(path: Path, name: str) -> Table:
    """Rows of a table with a header line. Rows are numbered by record: the first one under the header is 1.

    The delimiter is a tab in `.tsv` files, else the one of `,` `;` tab `|` that cuts the first records most
    evenly. An empty cell becomes None. A column without a name is dropped, with a note, where all its cells
    are empty.
    """
    text, notes = read_text(path, name)
    delimiter = "\t" if ".tsv" in path.suffixes else sniff(text)
    records = _records(name, text, delimiter)
    try:
        _, header = next(records)
    except StopIteration:
        raise DataError("the file is empty", name, "Give a file with a header line and at least one row") from None
    if header[0].startswith("sep=") and not any(header[1:]):
        raise DataError("the first line is a note to Excel", f"{name}: header", "Remove the line `sep=…`")
    table = _even(name, header, records)
    kept, dropped = _named(name, [cell.strip() for cell in header], table)
    columns = [header[index].strip() for index in kept]
    whole = len(kept) == len(header)
    rows: list[Row] = [
        dict(
            zip(
                columns,
                [cell or None for cell in (cells if whole else [cells[i] for i in kept])],
                strict=True,
            )
        )
        for cells in table
    ]
    if dropped:
        notes = (*notes, f"{name}: dropped {dropped} empty column{'s' * (dropped > 1)} without a name")
    return Table(rows, range(1, len(rows) + 1), notes)


def sniff(text: str) -> str:
    """The delimiter under which the first records are equally wide, and widest."""
    head = text[:SNIFFED_CHARS]
    return max(DELIMITERS, key=lambda delimiter: (*_width(head, delimiter), -DELIMITERS.index(delimiter)))


def _width(head: str, delimiter: str) -> tuple[bool, int]:
    widths = []
    try:
        widths = [len(cells) for cells in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter) if cells]
    except csv.Error:
        return False, 0
    body = widths[:-1] if len(head) == SNIFFED_CHARS and len(widths) > 2 else widths
    even = len(set(body)) == 1 and body[0] > 1
    return even, widths[0] if widths else 0


def _records(name: str, text: str, delimiter: str) -> Iterator[Record]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start, number = 1, 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _broken(name, number, start, reader.line_num, str(error)) from None
        if cells:
            yield start, cells
            number += 1
        start = reader.line_num + 1


def _broken(name: str, number: int, start: int, line: int, message: str) -> DataError:
    where = f"{name}:{number} (line {start})" if number else f"{name}: header"
    if message == "unexpected end of data":
        what = f"a quote opens in this record and is never closed (to line {line})"
    else:
        what = f"a quote inside a cell is not doubled: {message}, on line {line}"
    return DataError(what, where, 'Put the cell in quotes and write each quote inside it twice: "say ""yes"" now"')


def _even(name: str, header: list[str], records: Iterator[Record]) -> list[list[str]]:
    faults = Faults()
    table = []
    for number, (line, cells) in enumerate(records, 1):
        if len(cells) == len(header):
            table.append(cells)
        else:
            what = f"{_cells(len(cells))} where the header has {len(header)}; the last is {cells[-1][:40]!r}"
            mend = "Quote cells that hold the delimiter or a line break, or complete the row"
            faults.add(DataError(what, "", mend), f"{name}:{number} (line {line})")
    if faults.more and not table:
        what = f"it has {_cells(len(header))}, and no row has as many: {', '.join(header)[:60]!r}"
        raise DataError(what, f"{name}: header", "Let the file begin with a line that names the columns")
    faults.raise_first()
    return table


def _cells(number: int) -> str:
    return "1 cell" if number == 1 else f"{number} cells"


def _named(name: str, header: list[str], table: list[list[str]]) -> tuple[list[int], int]:
    """The indices of the columns to keep, and how many empty ones without a name are left out."""
    names = [column for column in header if column]
    double = next((column for column in names if names.count(column) > 1), None)
    if double is not None:
        raise DataError(f"the column name {double!r} stands twice", f"{name}: header", "Rename one of them")
    nameless = [index for index, column in enumerate(header) if not column]
    for index in nameless:
        row = next((number for number, cells in enumerate(table, 1) if cells[index]), None)
        if row is not None:
            what = f"column {index + 1} has no name, but row {row} has {table[row - 1][index][:40]!r} in it"
            mend = "Name it in the header line, or remove it (pandas: write the file with index=False)"
            raise DataError(what, f"{name}: header", mend)
    return [index for index, column in enumerate(header) if column], len(nameless)
