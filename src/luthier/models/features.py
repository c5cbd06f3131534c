"""The frozen trunk's output, computed once for each row and kept on disk by content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from luthier.data.batch import cut, pack
from luthier.data.forest import Row
from luthier.data.stream import Rows
from luthier.models.kept import kept
from luthier.models.lanes import lanes_for, side_by_side
from luthier.models.policy import Policy

BUDGET_TOKENS = 2048
"""Tokens of a pack: long enough to keep both cores busy, short enough for the cache."""
Progress = Callable[[int, int], None]


def features(
    policy: Policy, rows: Rows, key: str, cache: Path, progress: Progress = lambda done, total: None
) -> np.ndarray:
    """Pooled hidden states of all rows, (rows, H) float32, memory-mapped.

    `key` names the trunk's weights; the rows are found by their content.
    """
    return kept(cache, f"{key} {policy.pooling}", rows, lambda: _compute(policy, rows, progress))


def _compute(policy: Policy, rows: Rows, progress: Progress) -> np.ndarray:
    lengths = rows.lengths
    order = np.argsort(lengths, kind="stable")
    found: np.ndarray | None = None
    done = 0
    parts = [order[part] for part in cut((int(lengths[i]) for i in order), BUDGET_TOKENS)]

    @torch.no_grad()
    def pooled_rows(numbers: np.ndarray) -> np.ndarray:
        batch = pack([Row(*rows.row(int(i)), int(i)) for i in numbers]).to(policy.device)
        return policy.pooled(batch).float().cpu().numpy()

    with policy.evaluating():
        for numbers, pooled in zip(parts, side_by_side(pooled_rows, parts, lanes_for(policy)), strict=True):
            found = np.empty((len(rows), pooled.shape[1]), np.float32) if found is None else found
            found[numbers] = pooled
            done += len(numbers)
            progress(done, len(rows))
    return np.empty((0, 0), np.float32) if found is None else found
