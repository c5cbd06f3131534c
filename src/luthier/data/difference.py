"""What changed between two dataset versions, row by row."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.data import version
from luthier.store import Home


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


def diff(home: Home, before: str, after: str) -> Difference:
    """Compare two versions, given by id. Rows are matched by content, wherever they stand in their file."""
    old, new = _contents(home, before), _contents(home, after)
    added = {row_id for content, (row_id, _) in new.items() if content not in old}
    removed = {row_id for content, (row_id, _) in old.items() if content not in new}
    both = [content for content in new if content in old]
    moved = [(new[content][0], old[content][1], new[content][1]) for content in both]
    moved = [(row_id, was, now) for row_id, was, now in moved if was != now]
    edited = added & removed
    return Difference(
        added=tuple(sorted(added - edited)),
        removed=tuple(sorted(removed - edited)),
        edited=tuple(sorted(edited)),
        moved=tuple(moved),
        unchanged=len(both) - len(moved),
    )


def _contents(home: Home, version_id: str) -> dict[str, tuple[str, str]]:
    """Content id → row id and split."""
    rows = ((example, split) for split in version.SPLITS for example in version.read(home, version_id, split))
    return {example.content_id: (example.row_id, split) for example, split in rows}
