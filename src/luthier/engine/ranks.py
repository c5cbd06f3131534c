"""How AdaLoRA deals out its ranks (Zhang et al. 2023, arXiv:2303.10512), and keeps its matrices near orthogonal.

After each step every weight has an importance |w · ∂L/∂w|, smoothed, times its smoothed uncertainty (eq. 8–10). A rank
of a layer counts as much as its singular value and the means of its row of A and column of B (eq. 7). The budget, all
ranks together, stays whole at first, then falls as a cubic (eq. 12), then stays where it is; the singular values of
the ranks beyond it are set to 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from luthier.engine.seams import Parameters, Seams
from luthier.models.policy import Policy
from luthier.recipe.types import Adapter

SMOOTHING = 0.85
"""Of importance and of uncertainty."""
WHOLE, SETTLED = 0.1, 0.3
"""The shares of the steps before the budget falls, and after it has."""
SENSITIVITY, UNCERTAINTY, KEPT = "sensitivity.", "uncertainty.", "kept."
MATRICES = ("lora_A", "lora_B")


@dataclass(frozen=True)
class Budget:
    """Ranks of all layers together: `first` up to step `begin`, `last` from step `end` on (steps from 1)."""

    first: int
    last: int
    begin: int
    end: int

    def at(self, step: int) -> int:
        """The ranks that are left after `step`."""
        left = 1 - (min(max(step, self.begin), self.end) - self.begin) / (self.end - self.begin)
        return int((self.first - self.last) * left**3 + self.last)


def adalora(policy: Policy, adapter: Adapter, steps: int) -> Seams:
    """What AdaLoRA adds to `steps` steps of the policy; its settings are told the schedule."""
    learnt = {name: weights for name, weights in policy.trainable().items() if ".lora_" in name}
    values = {name: weights for name, weights in learnt.items() if ".lora_E." in name}
    begin, end = int(WHOLE * steps), steps - int(SETTLED * steps)
    budget = Budget(adapter.init_r * len(values), adapter.target_r * len(values), begin, max(begin + 2, end))
    config: Any = policy.wrapped.peft_config["default"]  # type: ignore[union-attr, index]
    config.total_step, config.tinit, config.tfinal = max(steps, budget.end), budget.begin, max(0, steps - budget.end)
    memory = {f"{kind}{name}": torch.zeros_like(weights)
              for kind in (SENSITIVITY, UNCERTAINTY) for name, weights in learnt.items()}  # fmt: skip
    memory |= {f"{KEPT}{name}": torch.ones_like(weights, dtype=torch.bool) for name, weights in values.items()}

    def penalise(step: int, parameters: Parameters) -> None:
        orthogonal({name: parameters[name] for name in learnt}, adapter.orth_reg_weight)

    @torch.no_grad()
    def allocate(step: int, parameters: Parameters) -> None:
        number = step + 1
        if number < budget.end:
            observe({name: parameters[name] for name in learnt}, memory)
        if budget.begin < number <= budget.end:
            keep(budget.at(number), list(values), memory)
        for name in values:
            parameters[name].masked_fill_(~memory[f"{KEPT}{name}"], 0.0)

    return Seams(after_backward=(penalise,), after_step=(allocate,), memory=memory)


@torch.no_grad()
def orthogonal(learnt: Parameters, weight: float) -> None:
    """Add the gradient of `weight` times the mean of ‖A Aᵀ − I‖ and ‖Bᵀ B − I‖ over all matrices (Frobenius norms).

    The paper squares the norms (eq. 4); its authors' code and PEFT do not, and neither does this.
    """
    matrices = {name: weights for name, weights in learnt.items() if any(kind in name for kind in MATRICES)}
    for name, weights in matrices.items():
        rows = weights if "lora_A" in name else weights.T
        apart = rows @ rows.T - torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
        slope = 2 * weight / len(matrices) * (apart @ rows) / apart.norm()
        slope = slope if "lora_A" in name else slope.T
        weights.grad = slope.contiguous() if weights.grad is None else weights.grad.add_(slope)


def observe(learnt: Parameters, memory: Mapping[str, Tensor]) -> None:
    """Take the gradients of a step into the smoothed importance and uncertainty of each weight."""
    for name, weights in learnt.items():
        now = torch.zeros_like(weights) if weights.grad is None else (weights * weights.grad).abs()
        smooth, doubt = memory[f"{SENSITIVITY}{name}"], memory[f"{UNCERTAINTY}{name}"]
        smooth.mul_(SMOOTHING).add_(now, alpha=1 - SMOOTHING)
        doubt.mul_(SMOOTHING).add_((now - smooth).abs(), alpha=1 - SMOOTHING)


def keep(budget: int, values: list[str], memory: Mapping[str, Tensor]) -> None:
    """Mark the `budget` most important ranks of all layers (fewer where scores are equal)."""

    def score(name: str, kind: str) -> Tensor:
        name = name.replace("lora_E", kind)
        return memory[f"{SENSITIVITY}{name}"] * memory[f"{UNCERTAINTY}{name}"]

    scores = {
        name: score(name, "lora_E").flatten() + score(name, "lora_A").mean(1) + score(name, "lora_B").mean(0)
        for name in values
    }
    every = torch.cat(list(scores.values()))
    least = torch.kthvalue(every, len(every) - budget)[0]
    for name in values:
        memory[f"{KEPT}{name}"].copy_((scores[name] > least)[:, None])
