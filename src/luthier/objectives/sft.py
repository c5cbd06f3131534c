"""Supervised fine-tuning and continued pretraining: the negative log-likelihood of the weighted tokens."""

from __future__ import annotations

from luthier.data.batch import Batch
from luthier.models.policy import Policy
from luthier.objectives.scored import Scored


def sft(policy: Policy, batch: Batch) -> Scored:
    """Σ -w · log p(target | what it sees), by row.

    Which tokens count, and how much, is in the batch: answers only for `sft`, all of them for `pretrain`.
    """
    return Scored({"nll": -batch.by_row(policy.logprobs(batch) * batch.weight_N)}, {})
