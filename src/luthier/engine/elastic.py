"""Elastic weight consolidation: weights that earlier data depends on are held where they were.

The penalty λ/2 Σ F (θ - θ*)² (Kirkpatrick et al. 2017, arXiv:1612.00796, equation 3) is added to the gradient once a
step. θ* are the weights at step 0. F is the diagonal of the empirical Fisher information: the mean over rows of the
squared gradient of a row's negative log-likelihood, at the answers that the data has. The Fisher information proper
would draw the answers from the model; the two differ away from the optimum (Kunstner et al. 2019, arXiv:1905.12558).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from luthier.data.batch import Batch
from luthier.engine.seams import Act, Parameters, plain
from luthier.models.policy import Policy
from luthier.objectives.scored import Objective


def empirical_fisher(policy: Policy, objective: Objective, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """The mean over rows of the squared gradient of each row's summed terms, by parameter; one row in each batch."""
    parameters, rows = policy.trainable(), 0
    found = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for batch in batches:
        assert batch.rows == 1, "the gradient of a single row is squared"
        _, gradients = plain(
            policy, objective, batch.to(policy.device), dict.fromkeys(objective.units, 1.0), parameters
        )
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                found[name].addcmul_(gradient, gradient)
        rows += 1
    return {name: total / max(1, rows) for name, total in found.items()}


def hold(strength: float, fisher: Mapping[str, Tensor], parameters: Parameters) -> Act:
    """Add λ F (θ - θ*), the gradient of the penalty, to that of the step; θ* is what `parameters` hold now."""
    start = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    def pull(step: int, parameters: Parameters) -> None:
        for name, parameter in parameters.items():
            back = strength * fisher[name] * (parameter.detach() - start[name])
            parameter.grad = back if parameter.grad is None else parameter.grad.add_(back)

    return pull
