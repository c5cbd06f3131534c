"""DP-SGD (Abadi et al. 2016, arXiv:1607.00133): rows are drawn, each gradient is clipped, the sum gets noise.

Each row is a micro-batch of its own, so its gradient is an ordinary one; no row shares a prefix with another. What
the rows may influence beyond that, the gradient's divisor above all, is fixed beforehand: a row's loss is divided by
the number of its own targets, and the sum by the batch size that is expected, not by the one that was drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from luthier.data.batch import Batch
from luthier.data.stream import MakeBatches, refuse_changes
from luthier.engine import world
from luthier.engine.seams import Act, Gradient, Gradients, Parameters, plain
from luthier.models.policy import Policy
from luthier.objectives.scored import Objective, Scored


@dataclass
class Draws:
    """At each step every row with probability `rate`, independently of all others, in a micro-batch of its own.

    Which rows a step has depends on the seed and the step alone; it may be none. The seed is a secret: who knows it
    knows the draws and the noise. It is kept in checkpoints, and a run that goes on takes it from there.
    """

    make: MakeBatches
    count: int
    rate: float
    seed: int
    data: str = ""

    def take(self, step: int) -> list[Batch]:
        """The micro-batches of optimizer step `step` for this rank."""
        return [batch for number in self.numbers(step)[world.rank() :: world.size()] for batch in self.make([number])]

    def numbers(self, step: int) -> list[int]:
        """The numbers of the rows of a step, over all ranks."""
        return np.flatnonzero(self.generator(step, "draw").random(self.count) < self.rate).tolist()

    def generator(self, step: int, purpose: str) -> np.random.Generator:
        """Random numbers that depend on seed, step and purpose alone."""
        return np.random.Generator(np.random.PCG64([self.seed, step, *purpose.encode()]))

    def state(self) -> dict[str, Any]:
        """What a checkpoint must find unchanged to go on, and the seed."""
        return {"data": self.data, "count": self.count, "rate": self.rate, "secret": self.seed}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the seed over. Raises TrainingError where the checkpoint was made with other rows or another rate."""
        self.seed = int(state.get("secret", self.seed))
        refuse_changes(self.state(), state)


def clipped(bound: float, batch_size: int) -> Gradient:
    """The gradient of a row's own mean loss, scaled down to the norm `bound` where it is longer, over `batch_size`.

    The mean is over the row's targets, or the loss itself where a row has none (a classifier).
    """

    def gradient(
        policy: Policy, objective: Objective, batch: Batch, units: Mapping[str, float], parameters: Parameters
    ) -> tuple[Scored, Gradients]:
        assert batch.rows == 1, "only the gradient of a single row can be clipped"
        own = dict.fromkeys(objective.units, float(max(1, len(batch.target_N))))
        scored, found = plain(policy, objective, batch, own, parameters)
        norm = float(nn.utils.get_total_norm([part for part in found if part is not None]))
        scale = min(1.0, bound / norm) / batch_size if norm else 0.0
        return scored, [None if part is None else part * scale for part in found]

    return gradient


def noise(draws: Draws, deviation: float) -> Act:
    """Add independent Gaussian noise of this standard deviation to every entry of the step's gradient."""

    def add(step: int, parameters: Parameters) -> None:
        seed = int(draws.generator(step, "noise").integers(2**63))
        generator = torch.Generator().manual_seed(seed)
        for parameter in parameters.values():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * deviation
            drawn = drawn.to(parameter.device)
            parameter.grad = drawn if parameter.grad is None else parameter.grad.add_(drawn)

    return add
