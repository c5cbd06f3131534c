"""Gradients that are taken only to see how long they take and how much memory they need, and then thrown away."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from luthier.data.batch import Batch
from luthier.engine.allocator import give_back
from luthier.engine.peak import Peak
from luthier.engine.seams import Gradient, Gradients, Parameters
from luthier.engine.shards import held_numbers
from luthier.models.lanes import side_by_side
from luthier.models.policy import Policy
from luthier.objectives.scored import Objective, Scored

UPDATED = 4_000_000
"""Weights on which an optimizer step is timed, at most."""


@dataclass(frozen=True)
class Trial:
    """What micro-batches took: seconds of all cores, the bytes that were held when trials began, and those on top."""

    seconds: float
    held: int
    extra: float


class Prober:
    """Takes gradients of micro-batches as a step does, and leaves weights, gradients and random state as they were.

    Memory that is used for the first time has to be handed out by the kernel, which may take a third of a trial. A fit
    does that once and keeps the pages, so these seconds are taken off. A lane that has nothing to do any more does not
    count either: in a fit there is a next micro-batch. Where a pass takes all processes, what they say to each other is
    the kernel's work too, and all of it counts. `room` is the most tokens that are worked on at a time, of all
    lanes.
    """

    def __init__(
        self, policy: Policy, objective: Objective, gradient: Gradient, peak: Peak, room: float = math.inf
    ) -> None:
        self.policy, self.objective, self.gradient, self.peak = policy, objective, gradient, peak
        self.room = room
        self.held = 0
        """Bytes in use when `settle` was called."""

    def settle(self) -> None:
        """Let trials count from here on. What threads and libraries keep for themselves, a trial before has woken."""
        give_back()
        self.held = self.peak.begin()

    def __call__(self, batches: Sequence[Batch], lanes: int) -> Trial:
        """Score the batches `lanes` at a time, add their gradients up, and forget them."""
        own, parameters = [batch.to(self.policy.device) for batch in batches], self.policy.trainable()
        counted = [self.objective.count(batch) for batch in batches]
        units = {name: sum(count[name] for count in counted) for name in self.objective.units}

        threads, spent = torch.get_num_threads(), list[float]()

        def one(batch: Batch) -> tuple[Scored, Gradients]:
            start = time.perf_counter()
            found = self.gradient(self.policy, self.objective, batch, units, parameters)
            spent.append((time.perf_counter() - start) * torch.get_num_threads() / threads)
            return found

        sizes = [len(batch.ids_T) for batch in own]
        self.peak.begin()
        devices = [self.policy.device] if self.policy.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            self.policy.train()
            start, system = time.perf_counter(), _system_seconds()
            total: list[Tensor | None] = [None] * len(parameters)
            for _, gradients in side_by_side(one, own, lanes, sizes, self.room):
                total = [_plus(*pair) for pair in zip(total, gradients, strict=True)]
            if devices:
                torch.cuda.synchronize()
            if devices or self.policy.together:
                seconds = time.perf_counter() - start
            else:
                seconds = max(0.1 * sum(spent), sum(spent) - (_system_seconds() - system) / threads)
        return Trial(seconds, self.held, self.peak.section() - self.held)


def _system_seconds() -> float:
    """What the kernel has worked for all threads of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_stime


def _plus(total: Tensor | None, own: Tensor | None) -> Tensor | None:
    if own is None:
        return total
    return own.clone() if total is None else total.add_(own)


def update_seconds(parameters: Parameters) -> float:
    """What the norm, the clipping and AdamW take in each step, timed on weights of no model."""
    every = sum(map(held_numbers, parameters.values()))
    some = nn.Parameter(torch.zeros(min(every, UPDATED), device=next(iter(parameters.values())).device))
    some.grad = torch.zeros_like(some)
    optimizer = torch.optim.AdamW([some], fused=True)
    optimizer.step()
    start = time.perf_counter()
    norm = nn.utils.get_total_norm([some.grad])
    nn.utils.clip_grads_with_norm_([some], 1.0, norm)
    optimizer.step()
    float(norm)
    return (time.perf_counter() - start) * every / some.numel()
