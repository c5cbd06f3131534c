"""Where a method may reach into an optimizer step: how a gradient is taken, and what runs before and after the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from luthier.data.batch import Batch
from luthier.models.policy import Policy
from luthier.objectives.scored import Objective, Scored

Parameters = Mapping[str, nn.Parameter]
Gradients = Sequence[Tensor | None]
Gradient = Callable[[Policy, Objective, Batch, Mapping[str, float], Parameters], tuple[Scored, Gradients]]
"""(policy, objective, micro-batch, units of the step, parameters) → what was scored and its gradient, by parameter.

Runs in several threads at once, so it must leave `.grad` alone.
"""
Act = Callable[[int, Parameters], None]
"""Is told the number of the step (from 0) and the parameters, whose `.grad` is the gradient of the whole step."""


def plain(
    policy: Policy, objective: Objective, batch: Batch, units: Mapping[str, float], parameters: Parameters
) -> tuple[Scored, Gradients]:
    """The gradient of the sum of the terms, each over its units."""
    scored = objective.score(policy, batch)
    return scored, torch.autograd.grad(total(scored, units), list(parameters.values()), allow_unused=True)


def total(scored: Scored, units: Mapping[str, float]) -> Tensor:
    """The sum of the terms, each over its units: what the gradient is taken of."""
    return torch.stack([term.sum() / (units[name] or 1.0) for name, term in scored.terms.items()]).sum()


def never(finite: bool) -> bool:
    """Leaves out no step."""
    return False


@dataclass(frozen=True)
class Seams:
    """What a method adds to the steps of a plan.

    `after_backward` runs once a step, when the gradients of all micro-batches and ranks are summed and before they
    are clipped (penalties on weights, noise); `after_step` between the optimizer's step and the clearing of the
    gradients (rank updates). `memory` holds tensors that these change in place and that decide later steps: they
    are kept in checkpoints. Without `clip` the gradient of the step is left as long as it is. `forgives` is told of
    each step whether its gradient is finite, and says whether one that is not is left out instead of refused.
    """

    gradient: Gradient = plain
    after_backward: tuple[Act, ...] = ()
    after_step: tuple[Act, ...] = ()
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    clip: bool = True
    forgives: Callable[[bool], bool] = never

    def and_those_of(self, other: Seams) -> Seams:
        """Both, these first. At most one of the two may take gradients in a way of its own."""
        assert plain in (self.gradient, other.gradient), "two ways to take a gradient"
        return Seams(
            self.gradient if other.gradient is plain else other.gradient,
            self.after_backward + other.after_backward,
            self.after_step + other.after_step,
            {**self.memory, **other.memory},
            self.clip and other.clip,
            self.forgives if other.forgives is never else other.forgives,
        )
