"""Rows of token ids → vectors of length 1, for encoders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from luthier.data.batch import Batch, cut, pack
from luthier.data.forest import Row
from luthier.models.lanes import lanes_for, side_by_side
from luthier.models.policy import Policy

PACK_TOKENS = 2048


def vectors(policy: Policy, rows: Sequence[Sequence[int]]) -> list[list[float]]:
    """The mean of each row's hidden states, of length 1; rows of like length share a pack."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    packs = [
        pack([Row(np.array(rows[order[i]], dtype=np.int64), np.zeros(len(rows[order[i]])), i) for i in part])
        for part in cut((len(rows[i]) for i in order), PACK_TOKENS)
    ]

    @torch.inference_mode()
    def pooled(batch: Batch) -> Tensor:
        return F.normalize(policy.pooled(batch.to(policy.device)).float(), dim=1).cpu()

    found = [vector for part in side_by_side(pooled, packs, lanes_for(policy)) for vector in part.tolist()]
    placed = dict(zip(order, found, strict=True))
    return [placed[i] for i in range(len(rows))]
