"""What the tokens of a packed batch may see: themselves and the segments that theirs continues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from luthier.data.forest import Segment

Spans = Sequence[tuple[int, int]]
KEPT_MASK = 4096
"""Keys up to which one causal mask is kept, and cut for every segment that needs a part of it."""


class Part(NamedTuple):
    """A segment as attention meets it: the queries `start:end`, and the `keys` in `spans`, its own last.

    Where `causal`, a query sees the keys up to its own place; where there is a `window`, no further than that.
    """

    start: int
    end: int
    spans: Spans
    keys: int
    causal: bool
    window: int | None

    @property
    def plain(self) -> bool:
        """Whether all keys are seen, or plain causal masking from the first key on does as well as a mask."""
        return self.window is None and (not self.causal or self.end - self.start == self.keys)


def parts(segments: Sequence[Segment], causal: bool, window: int | None, unasked: int = 0) -> Iterator[Part]:
    """Each segment of a pack; the first `unasked` keys, a whole segment, have no queries."""
    for segment in segments[1:] if unasked else segments:
        spans = ancestry(segments, segment)
        keys = sum(end - start for start, end in spans)
        narrow = window if window is not None and keys > window else None
        yield Part(segment.start - unasked, segment.end - unasked, spans, keys, causal, narrow)


def ancestry(segments: Sequence[Segment], segment: Segment) -> list[tuple[int, int]]:
    """The spans that a segment sees, root first, itself last."""
    spans = [(segment.start, segment.end)]
    while segment.parent is not None:
        segment = segments[segment.parent]
        spans.insert(0, (segment.start, segment.end))
    return spans


def gather(states: Tensor, spans: Spans) -> Tensor:
    """The states (B, heads, T, D) of some spans, one after the other; a view where there is but one."""
    found = [states[:, :, start:end] for start, end in spans]
    return found[0] if len(found) == 1 else torch.cat(found, 2)


def bias(part: Part, like: Tensor) -> Tensor | None:
    """What is added to the scores (queries, keys): 0 where a query sees a key, -inf elsewhere; None if `plain`."""
    if part.plain:
        return None
    queries = part.end - part.start
    if part.window is None and part.keys <= KEPT_MASK:
        whole = _triangle(1 << (part.keys - 1).bit_length(), like.dtype, like.device)
        return whole[part.keys - queries : part.keys, : part.keys]
    return _band(queries, part.keys, part.causal, part.window, like.dtype, like.device)


@lru_cache(maxsize=2)
def _triangle(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return _band(size, size, True, None, dtype, device)


def _band(
    queries: int, keys: int, causal: bool, window: int | None, dtype: torch.dtype, device: torch.device
) -> Tensor:
    age = torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)
    hidden = age < 0 if causal else torch.zeros_like(age, dtype=torch.bool)
    if window is not None:
        hidden |= age.abs() >= window
    return torch.zeros(queries, keys, dtype=dtype, device=device).masked_fill_(hidden, -torch.inf)
