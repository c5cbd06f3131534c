"""Steps that are taken inside the backward pass: each weight's as soon as its gradient is whole, which is then freed
(Lv et al. 2023, arXiv:2306.09782). A gradient of all weights together never exists, so nothing can be done to one: it
is not clipped, added up over micro-batches or ranks, penalised, or seen before it is used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from luthier.data.batch import Batch
from luthier.engine import world
from luthier.engine.optimizers import optimizer_of
from luthier.engine.plan import Plan
from luthier.engine.seams import Seams, plain, total
from luthier.errors import TrainingError
from luthier.models.policy import Policy
from luthier.objectives.scored import Objective, Scored
from luthier.recipe.types import Train


class InBackward(Plan):
    """A plan whose steps equal those of `Plan` without clipping; each must be one micro-batch.

    Its state is that of a `Plan`, too. A loss that is not finite leaves the weights as they were; a gradient that is
    not ends the fit after some weights have changed, with the checkpoint before it untouched.
    """

    def __init__(self, settings: Train, parameters: dict[str, nn.Parameter], steps: int, seams: Seams) -> None:
        assert not settings.max_grad_norm, "there is no whole gradient to clip"
        assert seams.gradient is plain, "gradients must be ordinary ones"
        assert not seams.after_backward + seams.after_step, "there is no whole gradient to change"
        super().__init__(settings, parameters, steps, 1, seams)
        self.taken, self.norms = 0, dict[int, Tensor]()
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                single = optimizer_of(settings, [{"params": [parameter], "weight_decay": group["weight_decay"]}])
                single.state = self.optimizer.state
                parameter.register_post_accumulate_grad_hook(partial(self._arrived, single))

    def backward(
        self, policy: Policy, objective: Objective, batches: Sequence[Batch], units: Mapping[str, float]
    ) -> Iterator[Scored]:
        """Score the one micro-batch of a step, and take the step.

        Raises TrainingError where there are several, or several ranks.
        """
        if world.size() > 1:
            what = f"{world.size()} ranks would each take steps of their own"
            raise TrainingError(what, "train.optimizer_in_backward", "Leave it out, or train in one process")
        if len(batches) != 1:
            raise TrainingError(
                f"step {self.taken + 1} has {len(batches)} micro-batches, and a step in the backward takes one",
                "train.optimizer_in_backward", "Make `train.batch_size` smaller",
            )  # fmt: skip
        scored = objective.score(policy, batches[0])
        loss = total(scored, units)
        if torch.isfinite(loss):  # else the report refuses it
            loss.backward()
        yield scored

    def step(self, step: int) -> dict[str, float]:
        """What was done in the backward: `grad_norm` and `learning_rate`. Raises TrainingError where the gradient was
        not finite."""
        norm, rate = self._norm(), self.rate(self.taken)
        self.norms, self.taken = {}, step + 1
        if not math.isfinite(norm):
            raise TrainingError(f"the gradient of step {step + 1} is {norm}, and weights have changed by it",
                                mend="The last checkpoint is the one before it")  # fmt: skip
        return {"grad_norm": norm, "learning_rate": rate}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Put `state()` of an earlier process back, and go on at its step."""
        super().restore(state)
        self.taken = max((int(value) for name, value in state.items() if name.endswith("/step")), default=0)

    def _arrived(self, single: torch.optim.Optimizer, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self.norms[id(parameter)] = torch.linalg.vector_norm(parameter.grad)
        single.param_groups[0]["lr"] = self.rate(self.taken)
        single.step()
        parameter.grad = None

    def _norm(self) -> float:
        found = [self.norms[id(p)] for p in self.parameters.values() if id(p) in self.norms]
        return float(torch.linalg.vector_norm(torch.stack(found)))
