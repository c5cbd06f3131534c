"""The next token of each row, from its logits, as its ask wants it chosen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from luthier.serve.engines.engine import Token
from luthier.serve.engines.row import Row

FIRST_SORTED = 256
"""How many of the likeliest ids are looked at first for those that make up `top_p`."""


def choose(logits_BV: Tensor, rows: Sequence[Row]) -> list[Token]:
    """One token a row."""
    logits_BV = logits_BV.float().cpu()
    best = logits_BV.argmax(1).tolist()
    return [_token(row, logits_V, id) for row, logits_V, id in zip(rows, logits_BV, best, strict=True)]


def _token(row: Row, logits_V: Tensor, best: int) -> Token:
    changed_V = _changed(row, logits_V)
    if row.ask.temperature > 0:
        id = _drawn(changed_V / row.ask.temperature, row.ask.top_p, row.uniform())
    else:
        id = best if changed_V is logits_V else int(changed_V.argmax())
    if row.ask.top_logprobs is None:
        return Token(id)
    logprobs_V = torch.log_softmax(logits_V, 0)
    top = logprobs_V.topk(row.ask.top_logprobs)
    return Token(id, float(logprobs_V[id]), tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True)))


def _changed(row: Row, logits_V: Tensor) -> Tensor:
    """The logits with bias, penalties and schema; the same tensor where there are none."""
    ask = row.ask
    by = {id: value for id, value in ask.bias.items() if 0 <= id < len(logits_V)}
    if ask.presence or ask.frequency:
        for id, count in row.counts.items():
            by[id] = by.get(id, 0.0) - ask.presence - ask.frequency * count
    if by:
        logits_V = logits_V.index_add(0, torch.tensor(list(by)), torch.tensor(list(by.values())))
    if row.matcher is None:
        return logits_V
    return logits_V.masked_fill(torch.from_numpy(~row.matcher.allowed()), -torch.inf)


def _drawn(scaled_V: Tensor, top_p: float, uniform: float) -> int:
    """The id at which the cumulated probability passes `uniform` of its sum, over the ids of `top_p` or all."""
    probs_V = torch.softmax(scaled_V, 0)
    if top_p >= 1:
        return _pick(probs_V, uniform)
    probs, ids = _nucleus(probs_V, top_p)
    return int(ids[_pick(probs, uniform)])


def _pick(probs: Tensor, uniform: float) -> int:
    cumulated = probs.cumsum(0, dtype=torch.float64)
    place = int(torch.searchsorted(cumulated, uniform * cumulated[-1], right=True))
    return min(place, len(probs) - 1)


def _nucleus(probs_V: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The fewest likeliest ids whose probabilities together reach `top_p`, at least one (Holtzman et al. 2020)."""
    count = FIRST_SORTED
    while True:
        probs, ids = probs_V.topk(min(count, len(probs_V)))
        reached = probs.cumsum(0, dtype=torch.float64) >= top_p
        if bool(reached[-1]) or len(probs) == len(probs_V):
            break
        count *= 8
    kept = int(reached.int().argmax()) + 1 if bool(reached[-1]) else len(probs)
    return probs[:kept], ids[:kept]
