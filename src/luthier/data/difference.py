"""What changed between two states of a dataset, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from luthier.data.example import Example

Splits = Mapping[str, Sequence[Example]]


@dataclass(frozen=True)
class Difference:
    """Row ids, by what changed.

    `added` and `removed`: the content is new or gone; `edited`: the id stayed and the content changed;
    `moved`: the content stayed and the split changed (id, split before, split after).
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    edited: tuple[str, ...]
    moved: tuple[tuple[str, str, str], ...]
    unchanged: int


def difference(before: Splits, after: Splits) -> Difference:
    """Rows are matched by content, wherever they stand in their file."""
    old, new = _contents(before), _contents(after)
    added = {row_id for content, (row_id, _) in new.items() if content not in old}
    removed = {row_id for content, (row_id, _) in old.items() if content not in new}
    edited = added & removed
    both = [(new[content][0], old[content][1], new[content][1]) for content in new if content in old]
    moved = tuple(row for row in both if row[1] != row[2])
    return Difference(
        added=tuple(sorted(added - edited)),
        removed=tuple(sorted(removed - edited)),
        edited=tuple(sorted(edited)),
        moved=moved,
        unchanged=len(both) - len(moved),
    )


def _contents(splits: Splits) -> dict[str, tuple[str, str]]:
    """Content id → row id and split."""
    rows = ((example, split) for split, examples in splits.items() for example in examples)
    return {example.content_id: (example.row_id, split) for example, split in rows}
