"""Weights of which each rank holds a share, gathered block by block while they are used (FSDP2).

Zhao et al. 2023, arXiv:2304.11277. A forward or backward pass takes all ranks at once, so each runs as many
micro-batches as the others, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from luthier.data.batch import Batch, hollow
from luthier.data.stream import Stream
from luthier.engine import world
from luthier.engine.seams import Gradients, Parameters, total
from luthier.models.adapt.blocks import blocks_of
from luthier.models.policy import VERBS, Policy
from luthier.objectives.scored import Objective, Scored

PLAIN = MixedPrecisionPolicy()
"""Everything as it is held: frozen weights in what is computed in, trained ones in float32."""


class Root(nn.Module):
    """A model, as FSDP sees it: its forward pass is whichever verb of the policy is called.

    What stands outside the blocks (embeddings, the last norm, the output layer) is whole while a verb runs.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, verb: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """What the verb returns."""
        return verb(*args, **options)


def shard(policy: Policy, device: str) -> None:
    """Share the model's weights out among the ranks; heads stay whole. The policy's verbs then take all ranks.

    Where all weights are trained in sixteen bits, they are gathered as such, and gradients added up in float32.

    Raises ModelError where the model has no one list of blocks.
    """
    mesh = init_device_mesh(device, (world.size(),))
    whole = policy.computes is not None and not hasattr(policy.wrapped, "peft_config")
    gathered = MixedPrecisionPolicy(policy.computes, torch.float32, cast_forward_inputs=False) if whole else PLAIN
    for block in blocks_of(policy.wrapped):
        fully_shard(block, mesh=mesh, mp_policy=gathered)
    root = Root(policy.wrapped)
    fully_shard(root, mesh=mesh, reshard_after_forward=True, mp_policy=gathered)
    within = copy(policy)  # its verbs call each other inside the root
    for verb in VERBS:
        setattr(policy, verb, partial(root, getattr(within, verb)))


def backward(
    policy: Policy, objective: Objective, batch: Batch, units: Mapping[str, float], parameters: Parameters
) -> tuple[Scored, Gradients]:
    """As `seams.plain`, of weights that are gathered and given back by hooks of the backward pass.

    It leaves the mean over ranks of a gradient, of which this is the sum. What heads have is this rank's own.
    """
    before = [parameter.grad for parameter in parameters.values()]
    _hold(parameters, [None] * len(before))
    scored = objective.score(policy, batch)
    total(scored, units).backward()
    found = [
        parameter.grad * world.size() if isinstance(parameter.grad, DTensor) else parameter.grad
        for parameter in parameters.values()
    ]
    _hold(parameters, before)
    return scored, found


def _hold(parameters: Parameters, gradients: Gradients) -> None:
    for parameter, gradient in zip(parameters.values(), gradients, strict=True):
        parameter.grad = gradient


@dataclass(frozen=True)
class Even:
    """A stream of which each rank takes as many micro-batches: those it lacks have no rows."""

    stream: Stream

    def take(self, step: int) -> list[Batch]:
        """The micro-batches of optimizer step `step` for this rank."""
        batches = self.stream.take(step)
        lacking = max(world.gathered(len(batches))) - len(batches)
        if not lacking:
            return batches
        (some, *_) = batches or self.stream.make(self.stream.numbers(step)[:1])
        return batches + [hollow(some)] * lacking

    def state(self) -> dict[str, Any]:
        """That of the stream."""
        return self.stream.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raise TrainingError where the checkpoint was made with other rows or another order."""
        self.stream.restore(state)
