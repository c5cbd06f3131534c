"""The loop. It never learns which method it runs: what counts is in the batch, how it is scored in the objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from luthier.data.batch import Batch
from luthier.engine import world
from luthier.engine.plan import Plan
from luthier.engine.report import Report
from luthier.models.policy import Policy
from luthier.objectives.scored import Objective

Hook = Callable[[Report, Policy], str | None]
"""Sees a finished step, may add to its metrics, and may return a reason to stop."""


class Source(Protocol):
    """Where batches come from: data in its shuffled order, or rollouts of the policy."""

    def take(self, step: int) -> list[Batch]: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...


class Keeper(Protocol):
    """Remembers a run between processes."""

    def restore(self, policy: Policy, plan: Plan, stream: Source) -> int: ...

    def checkpoint(self, policy: Policy, plan: Plan, stream: Source, report: Report, reason: str | None) -> None: ...

    @property
    def reason(self) -> str | None: ...


@dataclass(frozen=True)
class Outcome:
    """Why the loop ended, and after how many steps in all."""

    reason: str
    steps: int


def train(
    policy: Policy, objective: Objective, stream: Source, plan: Plan, run: Keeper, hooks: Sequence[Hook] = ()
) -> Outcome:
    """Take the steps of `plan` that `run` does not remember; the gradient of a step is that of its summed terms, each
    divided once by its units over all micro-batches and ranks.

    Raises TrainingError where a loss or gradient is not finite; the last checkpoint is then the one before it.
    """
    step = run.restore(policy, plan, stream)
    policy.train()
    while step < plan.steps and run.reason is None:
        batches = stream.take(step)
        units = world.total((objective.count(batch) for batch in batches), objective.units)
        report, moved = Report(step + 1, units), [batch.to(policy.device) for batch in batches]
        for batch, scored in zip(batches, plan.backward(policy, objective, moved, units), strict=True):
            report.add(batch, scored)
        report.settle()
        report.close(plan.step(step))
        reasons = [hook(report, policy) for hook in hooks]
        step += 1
        run.checkpoint(policy, plan, stream, report, world.agreed(next(filter(None, reasons), None)))
    return Outcome(run.reason or "plan complete", step)
