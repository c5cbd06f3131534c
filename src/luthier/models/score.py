"""What a policy says of rows, without gradients: how likely they are to it, or how its head scores them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from luthier.data.batch import Batch
from luthier.data.stream import MakeBatches, Rows, packed
from luthier.models.lanes import lanes_for, side_by_side
from luthier.models.policy import Policy

Progress = Callable[[int, int], None]
Given = Callable[[MakeBatches], MakeBatches]


def as_they_are(make: MakeBatches) -> MakeBatches:
    """Batches with no more than their tokens."""
    return make


def row_logprobs(policy: Policy, batch: Batch) -> Tensor:
    """The log-probability of each row's targets together, whatever they weigh, (R,).

    Summed in float64: the difference of two answers is small beside their sums.
    """
    return batch.by_row(policy.logprobs(batch).double())


def over_rows(
    policy: Policy, rows: Rows, budget: int, score: Callable[[Batch], Tensor], share_prefix: bool = True,
    numbers: Sequence[int] | None = None, progress: Progress = lambda done, total: None, given: Given = as_they_are,
) -> np.ndarray:  # fmt: skip
    """`score(batch)`, shape (R,) or (K, R), of packs of at most `budget` tokens, joined over all rows in float64.

    `numbers` chooses rows; all of them where it is left out. Only decoders share what rows begin with. `given` may
    add to the batches.
    """
    chosen = list(range(len(rows))) if numbers is None else list(numbers)
    batches = given(packed(rows, budget, share_prefix=share_prefix and policy.pooling == "last"))(chosen)
    found: list[np.ndarray] = []
    done = 0

    @torch.no_grad()
    def scored(batch: Batch) -> np.ndarray:
        return score(batch.to(policy.device)).double().cpu().numpy()

    with policy.evaluating():
        for part in side_by_side(scored, batches, lanes_for(policy)):
            found.append(part)
            done += part.shape[-1]
            progress(done, len(chosen))
    return np.concatenate(found, axis=-1)


def row_nll(
    policy: Policy, rows: Rows, budget: int, share_prefix: bool = True, numbers: Sequence[int] | None = None,
    progress: Progress = lambda done, total: None, given: Given = as_they_are,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Negative log-likelihood in nats and weight of the targets of each row: (rows,), (rows,).

    Rows without targets have 0 and 0.
    """

    def score(batch: Batch) -> Tensor:
        return torch.stack([-batch.by_row(policy.logprobs(batch) * batch.weight_N), batch.by_row(batch.weight_N)])

    nll, weight = over_rows(policy, rows, budget, score, share_prefix, numbers, progress, given)
    return nll, weight


def likeliest(policy: Policy, rows: Rows, number: int) -> list[tuple[int, float]]:
    """At each place of row `number` that has a target: the id that is likeliest there, and the target's
    log-probability."""
    (batch,) = packed(rows, len(rows.row(number)[0]))([number])
    batch = batch.to(policy.device)
    found: list[tuple[int, float]] = []

    def look(places: slice, logits_NV: Tensor) -> None:
        logprobs_NV = logits_NV.float().log_softmax(1)
        own_N = logprobs_NV.gather(1, batch.target_N[places, None])[:, 0]
        found.extend(zip(logprobs_NV.argmax(1).tolist(), own_N.tolist(), strict=True))

    with policy.evaluating():
        policy.over_vocab(batch, look)
    return found
