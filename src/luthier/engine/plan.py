"""How a gradient becomes a step: sum over ranks, refuse what is not finite, clip, step at the scheduled rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from luthier.data.batch import Batch
from luthier.engine import world
from luthier.engine.optimizers import kept_state, optimizer_of, put_back
from luthier.engine.schedule import share
from luthier.engine.seams import Gradients, Seams
from luthier.engine.shards import by_kind, clip, total_norm
from luthier.errors import TrainingError
from luthier.models.lanes import side_by_side
from luthier.models.policy import Policy
from luthier.objectives.scored import Objective, Scored
from luthier.recipe.types import Train

MEMORY = "memory"
"""What the names of the seams' tensors begin with in a checkpoint."""


class Plan:
    """The optimizer, its schedule, the number of steps, and how many micro-batches are worked on side by side, with how
    many tokens in all.

    Weight decay is on matrices only. `settings` must be resolved:
    its learning rate is a number. `parameters` are those that require gradients, by name.
    """

    def __init__(
        self, settings: Train, parameters: dict[str, nn.Parameter], steps: int, lanes: int = 1, seams: Seams = Seams(),
        tokens_under_way: float = math.inf,
    ) -> None:  # fmt: skip
        self.settings, self.parameters, self.steps, self.lanes = settings, parameters, steps, lanes
        self.seams, self.tokens_under_way = seams, tokens_under_way
        matrices = [p for p in parameters.values() if p.ndim > 1]
        vectors = [p for p in parameters.values() if p.ndim <= 1]
        groups = [
            {"params": kind, "weight_decay": decay}
            for some, decay in ((matrices, settings.weight_decay), (vectors, 0.0))
            for kind in by_kind(some)
        ]
        self.peak = float(settings.learning_rate)
        self.optimizer = optimizer_of(settings, groups)

    def backward(
        self, policy: Policy, objective: Objective, batches: Sequence[Batch], units: Mapping[str, float]
    ) -> Iterator[Scored]:
        """Score the micro-batches of a step, `lanes` at a time, each term over its units; add the gradients up.

        They are added in the order of the micro-batches, so the sum does not depend on which lane was faster.
        """

        def gradient(batch: Batch) -> tuple[Scored, Gradients]:
            return self.seams.gradient(policy, objective, batch, units, self.parameters)

        sizes = [len(batch.ids_T) for batch in batches]
        for scored, gradients in side_by_side(gradient, batches, self.lanes, sizes, self.tokens_under_way):
            for parameter, own in zip(self.parameters.values(), gradients, strict=True):
                if own is not None:
                    parameter.grad = own.clone() if parameter.grad is None else parameter.grad.add_(own)
            yield scored

    def step(self, step: int) -> dict[str, float]:
        """Apply the summed gradients of step `step` (from 0) and clear them; returns `grad_norm` and `learning_rate`.

        Where the gradient is not finite, weights and optimizer stay untouched: raises TrainingError, or returns
        `left_out` where the seams forgive it.
        """
        world.add_gradients(self.parameters.values())
        for act in self.seams.after_backward:
            act(step, self.parameters)
        gradients = self._gradients()
        norm, rate = total_norm(gradients), self.rate(step)
        length = float(norm)
        forgiven = self.seams.forgives(math.isfinite(length))
        if forgiven:
            self.optimizer.zero_grad()
            return {"left_out": 1.0, "learning_rate": rate}
        if not math.isfinite(length):
            raise TrainingError(f"the gradient of step {step + 1} is {length}")
        if self.settings.max_grad_norm and self.seams.clip:
            clip(self.parameters.values(), self.settings.max_grad_norm, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        for act in self.seams.after_step:
            act(step, self.parameters)
        self.optimizer.zero_grad()
        return {"grad_norm": length, "learning_rate": rate}

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        return self.peak * share(self.settings.lr_scheduler, step, self.steps, self.settings.warmup_ratio)

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self.parameters.values() if p.grad is not None]

    def state(self) -> dict[str, Tensor]:
        """The optimizer's state as named tensors, `<parameter>/<exp_avg, step, …>`, and the seams' memory."""
        state = {f"{MEMORY}/{name}": value for name, value in self.seams.memory.items()}
        for name, parameter in self.parameters.items():
            state |= {f"{name}/{key}": value for key, value in kept_state(self.optimizer, parameter)}
        return state

    def like(self, name: str) -> Tensor | None:
        """The parameter that a tensor of `state()` belongs to, or what the seams have in its place."""
        owner, _, field = name.rpartition("/")
        return self.seams.memory.get(field) if owner == MEMORY else self.parameters.get(owner)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Put `state()` of an earlier process back; what has a parameter's shape is held as the parameter is."""
        for key, value in state.items():
            name, _, field = key.rpartition("/")
            if name == MEMORY:
                self.seams.memory[field].copy_(value)
            else:
                put_back(self.optimizer, self.parameters[name], field, value)
