"""How a gradient becomes a step: sum over ranks, refuse what is not finite, clip, AdamW at the scheduled rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from luthier.engine import world
from luthier.engine.schedule import share
from luthier.errors import TrainingError
from luthier.recipe.types import Train


class Plan:
    """The optimizer, its schedule and the number of steps.

    AdamW (Loshchilov and Hutter 2017, arXiv:1711.05101); weight decay on matrices only. `settings` must be resolved:
    its learning rate is a number. `parameters` are those that require gradients, by name.
    """

    def __init__(self, settings: Train, parameters: dict[str, nn.Parameter], steps: int) -> None:
        self.settings, self.parameters, self.steps = settings, parameters, steps
        matrices = [p for p in parameters.values() if p.ndim > 1]
        vectors = [p for p in parameters.values() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.peak = float(settings.learning_rate)
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=self.peak, eps=settings.adam_epsilon,
            betas=(settings.adam_beta1, settings.adam_beta2), fused=True,
        )  # fmt: skip

    def backward(self, losses: list[Tensor]) -> None:
        """Add the gradients of a micro-batch's losses to those of the step."""
        torch.stack(losses).sum().backward()

    def step(self, step: int) -> dict[str, float]:
        """Apply the summed gradients of step `step` (from 0) and clear them; returns `grad_norm` and `learning_rate`.

        Raises TrainingError, with weights and optimizer untouched, where the gradient is not finite.
        """
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        world.add_gradients(gradients)
        norm = nn.utils.get_total_norm(gradients)
        if not math.isfinite(norm):
            raise TrainingError(f"the gradient of step {step + 1} is {float(norm)}")
        if self.settings.max_grad_norm:
            nn.utils.clip_grads_with_norm_(self.parameters.values(), self.settings.max_grad_norm, norm)
        rate = self.peak * share(self.settings.lr_scheduler, step, self.steps, self.settings.warmup_ratio)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"grad_norm": float(norm), "learning_rate": rate}

    def state(self) -> dict[str, Tensor]:
        """AdamW's state as named tensors: `<parameter>/<exp_avg | exp_avg_sq | step>`."""
        state: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                state[f"{name}/{key}"] = value
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        """Put `state()` of an earlier process back."""
        for key, value in state.items():
            name, _, field = key.rpartition("/")
            entry: dict[str, Any] = self.optimizer.state[self.parameters[name]]
            entry[field] = value.clone()
