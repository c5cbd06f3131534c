"""Direct preference optimisation: chosen answers become likelier than rejected ones, against the policy at step 0.

A pair is two consecutive rows, the chosen one first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from luthier.data.batch import Batch
from luthier.models.policy import Policy
from luthier.models.score import row_logprobs
from luthier.objectives.scored import Scored


def dpo(policy: Policy, batch: Batch, *, beta: float, label_smoothing: float = 0.0) -> Scored:
    """Σ w · -log σ(β · drift) over pairs (Rafailov et al. 2023, arXiv:2305.18290, equation 7).

    The drift of a pair (P,) is how much further the log-probability of its chosen answer has moved from that at
    step 0 (column `reference_logp`) than its rejected answer's; `row_weight` (R,) is w. With label smoothing ε, the
    loss is (1 - ε) · -log σ(β · drift) + ε · -log σ(-β · drift): conservative DPO (Mitchell 2023, "A note on DPO
    with noisy preferences").
    """
    moved_P2 = batch.pairs(row_logprobs(policy, batch) - batch.column("reference_logp"))
    margin_P = beta * (moved_P2[:, 0] - moved_P2[:, 1])
    loss_P = -(1 - label_smoothing) * F.logsigmoid(margin_P) - label_smoothing * F.logsigmoid(-margin_P)
    return Scored({"preference": on_chosen(loss_P, batch)}, {"accuracy": margin_P > 0, "margin": margin_P})


def on_chosen(loss_P: Tensor, batch: Batch) -> Tensor:
    """The weighted loss of each pair on its chosen row, and 0 on its rejected one: (P,) → (R,)."""
    return torch.stack([loss_P, torch.zeros_like(loss_P)], 1).flatten() * batch.column("row_weight")


def pairs(batch: Batch) -> float:
    """The weight of all pairs."""
    return float(batch.pairs(batch.column("row_weight"))[:, 0].sum())
