"""Where fine-tuning a classifier begins: the best head on what the untouched trunk says."""

from __future__ import annotations

from dataclasses import replace

import torch

from luthier.data.batch import Batch
from luthier.models.policy import Policy
from luthier.objectives.scored import Objective

STRENGTH = 10.0
"""C of a logistic regression: the penalty is ‖W‖² / (2 · C · rows)."""
ITERATIONS = 100


def fit_head(policy: Policy, objective: Objective, batch: Batch) -> None:
    """Put the head of `policy` at the optimum of `objective` on one batch of all rows, whose features are computed.

    A head that starts at random sends gradients into the trunk that distort what it knew; one that starts here does
    not (Kumar et al. 2022, arXiv:2202.10054). Solved by L-BFGS (Liu and Nocedal 1989); deterministic.
    """
    assert policy.head is not None, "there is no head"
    parameters = list(policy.head.parameters())
    alone = replace(policy)  # without other processes: of the rows, only features are looked at
    optimizer = torch.optim.LBFGS(parameters, max_iter=ITERATIONS, line_search_fn="strong_wolfe")
    units = objective.count(batch)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        terms = objective.score(alone, batch).terms
        matrices = sum(parameter.square().sum() for parameter in parameters if parameter.ndim > 1)
        total = torch.stack([term.sum() / (units[name] or 1.0) for name, term in terms.items()]).sum()
        total = total + matrices / (2 * STRENGTH * batch.rows)
        total.backward()
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    optimizer.zero_grad()
