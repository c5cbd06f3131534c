"""A dropped row."""

from __future__ import annotations

from typing import NamedTuple

from luthier.data.example import Example


class Reject(NamedTuple):
    """A row that a step dropped; `kind` is `reason` without the other row it may name, for counting."""

    example: Example
    step: str
    reason: str
    kind: str
