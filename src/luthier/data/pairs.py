"""Preference pairs as rendered rows: two for each example, the chosen answer's before the rejected one's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from luthier.data.example import Example, Message
from luthier.data.rendered import Rendered, RenderReport
from luthier.errors import DataError

ROWS = 2
"""Rows of a pair: 2u and 2u + 1 are those of pair u."""


def as_rows(pair: Example, as_text: bool = False) -> tuple[Example, Example]:
    """A pair as two conversations that end with its answers; only what follows the shared turns is learnt.

    With `as_text`, for models without a chat template, each turn is a line that begins with its role.
    """
    assert pair.chosen is not None, pair.row_id
    assert pair.rejected is not None, pair.row_id
    asked = [dict(turn, weight=0) for turn in pair.messages or ({"role": "user", "content": pair.prompt},)]
    first, second = (
        Example(f"{pair.row_id} ({name})", messages=(*asked, *_turns(answer)), tools=pair.tools, weight=pair.weight)
        for name, answer in (("chosen", pair.chosen), ("rejected", pair.rejected))
    )
    return (_text(first), _text(second)) if as_text else (first, second)


def rejoin(rows: Rendered, pairs: Sequence[Example]) -> Rendered:
    """Only the pairs of which both rows are left, under the ids of the pairs; `kept` has a pair's number twice.

    The report names a pair once, wherever either of its rows is named. Raises DataError where no pair is left.
    """
    numbers = rows.kept // ROWS
    whole = np.bincount(numbers, minlength=len(pairs))[numbers] == ROWS
    if len(pairs) and not whole.any():
        raise DataError(
            f"no pair of {len(pairs)} has two answers that can be compared",
            mend="Each needs tokens of both answers within `train.sequence_len`",
        )
    lengths, tokens = rows.lengths[whole], np.repeat(whole, rows.lengths)
    weights = rows.weights[tokens]
    report = replace(
        rows.report, rows=len(lengths), tokens=len(weights), trained_tokens=int(np.count_nonzero(weights)),
        coverage=rows.report.coverage[whole], **_by_pair(rows.report, pairs),
    )  # fmt: skip
    return Rendered(
        ids=rows.ids[tokens], weights=weights, offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        row_ids=[pairs[i].row_id for i in numbers[whole]], kept=numbers[whole], report=report,
    )  # fmt: skip


def _by_pair(report: RenderReport, pairs: Sequence[Example]) -> dict[str, Any]:
    """The lists of the report that name rows, with the pairs' ids."""
    own = {f"{pair.row_id} ({name})": pair.row_id for pair in pairs for name in ("chosen", "rejected")}
    lists = ("zero_coverage", "truncated", "dropped", "unlike_prompt")
    return {name: tuple(dict.fromkeys(own[row] for row in getattr(report, name))) for name in lists}


def _turns(answer: tuple[Message, ...] | str) -> tuple[Message, ...]:
    return ({"role": "assistant", "content": answer},) if isinstance(answer, str) else answer


def _text(row: Example) -> Example:
    lines = [f"{turn['role']}: {turn.get('content') or ''}" for turn in row.messages or ()]
    return replace(row, messages=None, text="\n".join(lines))
