"""Which format a table has: decided from its columns and first rows, with the reason; never a guess."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from luthier.data.sources.formats.cells import listed
from luthier.data.sources.formats.format import Columns, Format, Role
from luthier.data.sources.table import Row
from luthier.errors import DataError
from luthier.recipe.types import DataEntry

FIRST_ROWS = 100

QUESTION_NAMES = ("instruction", "prompt", "question", "query", "input", "context", "passage", "text")
ANSWER_NAMES = ("output", "response", "answer", "completion", "chosen", "rejected", "choices", "options")
CONTENT_NAMES = frozenset((*QUESTION_NAMES, *ANSWER_NAMES, "history", "messages", "conversations"))
"""Columns that a format may not leave aside on its own account: the model would not see them."""


class Detected(NamedTuple):
    """A format, which column plays which role, and the reason in words."""

    format: Format
    columns: Columns
    why: str


def detect(rows: Sequence[Row], entry: DataEntry, formats: Mapping[str, Format], where: str) -> Detected:
    """The format of `rows`: the entry's type, or the one whose columns and values are all there.

    Raises `DataError` where none fits, where several fit and none includes the others, or where a column that
    seems to be part of the question or the answer would be left aside.
    """
    first = rows[:FIRST_ROWS]
    present = list(dict.fromkeys(chain.from_iterable(rows)))
    named = _named(entry, present, where)
    if entry.type != "auto":
        return _declared(formats[entry.type], present, named, where)
    fitting = [found for one in formats.values() if (found := _match(one, present, named, first))]
    best = [found for found in fitting if not any(_includes(other, found) for other in fitting)]
    if not best:
        raise _unknown(first, present, named, formats, where)
    if len(best) > 1:
        raise _ambiguous(best, present, where)
    if not named:
        _refuse_leftovers(best[0], present, where)
    return best[0]


def _named(entry: DataEntry, present: list[str], where: str) -> dict[str, str]:
    """Role → column, as the entry's `field_*` keys say."""
    given = {key.removeprefix("field_"): value for key, value in entry if key.startswith("field_") and value}
    for role, column in given.items():
        if column not in present:
            near = difflib.get_close_matches(column, present, n=1)
            mend = f"Did you mean {near[0]!r}?" if near else f"The columns are: {listed(present)}"
            raise DataError(f"`field_{role}` names the column {column!r}, which is not there", where, mend)
    return given


def _declared(form: Format, present: list[str], named: dict[str, str], where: str) -> Detected:
    foreign = [role for role in named if role not in form.roles]
    if foreign:
        what = f"`field_{foreign[0]}` has no meaning for type {form.name!r}"
        raise DataError(what, where, f"It knows: {', '.join(_settable(form))}")
    columns = _columns(form, present, named)
    missing = _missing(form, columns)
    if missing:
        role = missing[0]
        what = f"type {form.name!r} needs a column for the {role}, and the columns are: {listed(present)}"
        raise DataError(what, where, f"Set `field_{role}` to the column that holds it")
    return Detected(form, columns, f"type {form.name!r} was given; {_tell(columns, present)}")


def _match(form: Format, present: list[str], named: dict[str, str], first: Sequence[Row]) -> Detected | None:
    columns = _columns(form, present, named)
    if _missing(form, columns) or not set(named) <= set(form.roles):
        return None
    if not any(form.fits(row, columns) for row in first):
        return None
    return Detected(form, columns, _tell(columns, present))


def _columns(form: Format, present: list[str], named: dict[str, str]) -> Columns:
    """Role → column: the one named, else the first known name found, in any case of letters."""
    lower = {column.lower(): column for column in reversed(present) if column not in named.values()}
    found = {role: named.get(role) or _first(one, lower) for role, one in form.roles.items()}
    return {role: column for role, column in found.items() if column}


def _first(role: Role, lower: dict[str, str]) -> str | None:
    return next((lower[name] for name in role.names if name in lower), None)


def _missing(form: Format, columns: Columns) -> list[str]:
    return [role for role, one in form.roles.items() if one.required and role not in columns]


def _includes(other: Detected, found: Detected) -> bool:
    """Whether `other` uses all columns that `found` does, and more."""
    return set(found.columns.values()) < set(other.columns.values())


def _tell(columns: Columns, present: list[str]) -> str:
    roles = ", ".join(role if role == column else f"{column!r} as {role}" for role, column in columns.items())
    rest = [column for column in present if column not in columns.values()]
    return f"columns: {roles}" + (f"; kept aside: {listed(rest)}" if rest else "")


def _settable(form: Format) -> list[str]:
    return [f"field_{role}" for role in form.roles if f"field_{role}" in DataEntry.model_fields]


def _refuse_leftovers(found: Detected, present: list[str], where: str) -> None:
    used = set(found.columns.values())
    names = CONTENT_NAMES.union(*(role.names for role in found.format.roles.values()))
    left = [column for column in present if column.lower() in names and column not in used]
    if left:
        columns = found.why.split(";")[0]
        what = f"the rows look like {found.format.name} ({columns}), which would ignore {left[0]!r}"
        mend = f"Set `type: {found.format.name}` if that is meant, or name the columns with {_keys(found.format)}"
        raise DataError(what, where, mend)


def _ambiguous(best: list[Detected], present: list[str], where: str) -> DataError:
    choices = " or ".join(f"{one.format.name} ({', '.join(one.columns.values())})" for one in best)
    what = f"the columns {listed(present)} fit more than one type: {choices}"
    return DataError(what, where, f"Set `type: {best[0].format.name}` or `type: {best[1].format.name}`")


def _unknown(
    first: Sequence[Row], present: list[str], named: dict[str, str], formats: Mapping[str, Format], where: str
) -> DataError:
    what = f"the columns {listed(present)} fit no known type"
    nested = _records(first, present)
    if nested:
        column, inner = nested
        mend = f"{column!r} holds records: write one row for each of them, with columns {', '.join(inner)}"
        return DataError(what, where, mend)
    near = [(form, _columns(form, present, named)) for form in formats.values() if set(named) <= set(form.roles)]
    near = sorted((pair for pair in near if pair[1]), key=lambda pair: -len(pair[1]))
    whole = [pair for pair in near if not _missing(*pair)]
    if whole:
        return _unlike(*whole[0], first, present, where)
    hints = [_hint(form, columns) for form, columns in near[:3]]
    otherwise = f"Set `type`, and name the columns with {_keys()}"
    if re.search(r"\.[ct]sv(\.gz)?$", where.lower()):
        otherwise = f"{TABLES}. {otherwise}"
    return DataError(what, where, f"For {'; for '.join(hints)}" if hints else otherwise)


def _unlike(form: Format, columns: Columns, first: Sequence[Row], present: list[str], where: str) -> DataError:
    """For rows whose columns are those of a format, and whose values are not."""
    what = f"the rows look like {form.name} ({_tell(columns, present)})"
    try:
        form.read(first[0], columns)
    except DataError as error:
        return DataError(f"{what}, but {error.what}", where, error.mend)
    return DataError(f"{what}, but not for sure", where, f"Set `type: {form.name}` if that is meant")


def _hint(form: Format, columns: Columns) -> str:
    keys = ", ".join(f"`field_{role}`" for role in _missing(form, columns))
    known = ", ".join(f"{column!r} is the {role}" for role, column in columns.items())
    return f"type {form.name} ({known}) set {keys}"


def _records(first: Sequence[Row], present: list[str]) -> tuple[str, list[str]] | None:
    """A column of lists of objects that hold a question or an answer, and their keys."""
    for column in present:
        value = first[0].get(column)
        if type(value) is list and value and type(value[0]) is dict and not CONTENT_NAMES.isdisjoint(value[0]):
            return column, list(value[0])
    return None


def _keys(form: Format | None = None) -> str:
    if form is None:
        return "`field_prompt` and `field_completion` (or the other `field_*` keys)"
    return " and ".join(f"`{key}`" for key in _settable(form))


TABLES = "The first line must name the columns; `,` `;` tab or `|` part the cells, in .tsv files only a tab"
