"""The loss of float16 is scaled, so that small gradients are not rounded to 0 on their way through the model.

The scale is a power of two that is taken off the summed gradient again, so it changes nothing but what would be lost.
A step whose gradient overflows is left out and halves it; a long run of whole steps doubles it (Micikevicius et al.
2018, arXiv:1710.03740, section 4.2; the numbers are those of torch.amp.GradScaler).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from luthier.data.batch import Batch
from luthier.engine.seams import Gradient, Gradients, Parameters, Seams, plain
from luthier.models.policy import Policy
from luthier.objectives.scored import Objective, Scored

FIRST, LEAST, MOST = 2.0**16, 1.0, 2.0**24
PATIENCE = 2000
"""Whole steps in a row after which the scale is doubled."""


def scaled_loss(gradient: Gradient = plain) -> Seams:
    """Seams that take `gradient` of the scaled loss, and leave out a step that overflows as long as the scale can fall.

    The scale and the number of whole steps since it changed are in the seams' memory, and so in checkpoints.
    """
    scale, whole = torch.tensor(FIRST), torch.tensor(0)

    def scaled(
        policy: Policy, objective: Objective, batch: Batch, units: Mapping[str, float], parameters: Parameters
    ) -> tuple[Scored, Gradients]:
        own = {name: (count or 1.0) / float(scale) for name, count in units.items()}
        return gradient(policy, objective, batch, own, parameters)

    def take_off(step: int, parameters: Parameters) -> None:
        for parameter in parameters.values():
            if parameter.grad is not None:
                parameter.grad /= float(scale)

    def forgives(finite: bool) -> bool:
        if finite:
            whole.add_(1)
            if whole >= PATIENCE and scale < MOST:
                scale.mul_(2)
                whole.zero_()
            return False
        whole.zero_()
        forgiven = bool(scale > LEAST)
        scale.copy_(torch.clamp(scale / 2, min=LEAST))
        return forgiven

    memory = {"loss_scale": scale, "whole_steps": whole}
    return Seams(scaled, after_backward=(take_off,), memory=memory, forgives=forgives)
