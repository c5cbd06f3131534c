"""Generation from a policy: packed prefill that shares a common beginning, then one token a row and step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from luthier.data.batch import pack
from luthier.data.forest import Row
from luthier.models.attention import Memory
from luthier.models.policy import Policy

MEMORY_TOKENS = 16_384
"""Tokens whose keys and values are held at a time; more rows at once are decoded faster."""
Allowed = Callable[[int, list[int]], Sequence[int]]
"""(number of the prompt, ids generated so far) → the ids that may come next."""


def sample(
    policy: Policy, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, stop_ids: Sequence[int],
    temperature: float = 0.0, allowed: Allowed | None = None, batch_size: int = 128, seed: int = 0,
    adapters: Sequence[str | None] | None = None, keep_stop: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[int]]:  # fmt: skip
    """Continue each prompt until a stop id or `max_new_tokens`; greedy at temperature 0.

    The stop id counts among the new tokens, and is part of the answer only with `keep_stop`.

    `allowed` restricts what may come next, row by row. `adapters` names that of each prompt, where the policy holds
    several. Rows of like length are decoded together, at most `batch_size`; the answers come back in the order of the
    prompts. The caller checks that prompts fit the context.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    named = adapters or [None] * len(prompts)
    rows = [Row(np.asarray(ids), np.zeros(len(ids)), i, named[i]) for i, ids in enumerate(prompts)]
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    draw = torch.Generator().manual_seed(seed)
    done = 0
    with policy.evaluating():
        while done < len(order):
            room = len(prompts[order[done]]) + max_new_tokens
            together = [rows[i] for i in order[done : done + max(1, min(batch_size, MEMORY_TOKENS // room))]]
            choose = partial(_choose, answers=answers, temperature=temperature, allowed=allowed, draw=draw)
            _decode_batch(policy, together, answers, max_new_tokens, set(stop_ids), keep_stop, choose)
            done += len(together)
            progress(done, len(prompts))
    return answers


def _decode_batch(
    policy: Policy, rows: Sequence[Row], answers: list[list[int]], max_new_tokens: int, stops: set[int],
    keep_stop: bool, choose: Callable[[Tensor, list[int]], list[int]],
) -> None:  # fmt: skip
    batch = pack(rows, share_prefix=True).to(policy.device)
    room = max(len(row.ids) for row in rows) + max_new_tokens
    memory = Memory(batch.segments, batch.leaves, room, policy.device)
    hidden = policy.hidden(batch, batch.last_R, memory=memory)[batch.last_R]
    live = [row.number for row in rows]
    for step in range(max_new_tokens):
        chosen = choose(policy.vocab_logits(hidden), live)
        open_rows = [row for row, token in enumerate(chosen) if token not in stops]
        for row in range(len(live)) if keep_stop else open_rows:
            answers[live[row]].append(chosen[row])
        if not open_rows or step == max_new_tokens - 1:
            return
        if len(open_rows) < len(live):
            memory.keep(open_rows)
            live = [live[row] for row in open_rows]
        hidden = policy.step(torch.tensor([chosen[row] for row in open_rows], device=policy.device), memory)


def _choose(
    logits: Tensor, live: list[int], answers: list[list[int]], temperature: float, allowed: Allowed | None,
    draw: torch.Generator,
) -> list[int]:  # fmt: skip
    if allowed is not None:
        barred = torch.ones_like(logits, dtype=torch.bool)
        for row, number in enumerate(live):
            barred[row, torch.tensor(list(allowed(number, answers[number])), device=logits.device)] = False
        logits = logits.masked_fill(barred, -torch.inf)
    if temperature == 0:
        return logits.argmax(1).tolist()
    return torch.multinomial(torch.softmax(logits / temperature, 1).cpu(), 1, generator=draw)[:, 0].tolist()
