"""How likely rows are to a policy, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from luthier.data.batch import Batch
from luthier.data.stream import Rows, packed
from luthier.models.lanes import lanes_for, side_by_side
from luthier.models.policy import Policy


def row_nll(
    policy: Policy, rows: Rows, budget: int, share_prefix: bool = True, numbers: Sequence[int] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Negative log-likelihood in nats and weight of the targets of each row: (rows,), (rows,).

    Rows without targets have 0 and 0. `numbers` chooses rows; all of them where it is left out.
    """
    chosen = list(range(len(rows))) if numbers is None else list(numbers)
    nll, weight = np.zeros(len(chosen)), np.zeros(len(chosen))
    done = 0
    batches = packed(rows, budget, share_prefix=share_prefix and policy.lm_head is not None)(chosen)

    @torch.no_grad()
    def score(batch: Batch) -> Tensor:
        batch = batch.to(policy.device)
        return torch.stack([-batch.by_row(policy.logprobs(batch) * batch.weight_N), batch.by_row(batch.weight_N)])

    with policy.evaluating():
        for found in side_by_side(score, batches, lanes_for(policy.device)):
            place = slice(done, done + found.shape[1])
            nll[place], weight[place] = found.double().cpu().numpy()
            done += found.shape[1]
            progress(done, len(chosen))
    return nll, weight
