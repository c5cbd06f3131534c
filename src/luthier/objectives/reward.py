"""A reward model: one number a row, higher for the chosen answer of a pair than for the rejected one."""

from __future__ import annotations

import torch.nn.functional as F

from luthier.data.batch import Batch
from luthier.models.policy import Policy
from luthier.objectives.dpo import on_chosen
from luthier.objectives.scored import Scored


def reward(policy: Policy, batch: Batch) -> Scored:
    """Σ w · -log σ(r(chosen) - r(rejected)) over pairs, consecutive rows; column `row_weight` (R,) is w.

    The likelihood of the choices under Bradley and Terry (1952), as in Ouyang et al. 2022, arXiv:2203.02155,
    equation 1.
    """
    reward_P2 = batch.pairs(policy.class_logits(batch)[:, 0])
    margin_P = reward_P2[:, 0] - reward_P2[:, 1]
    loss_R = on_chosen(-F.logsigmoid(margin_P), batch)
    return Scored({"preference": loss_R}, {"accuracy": margin_P > 0, "margin": margin_P})
