"""A policy of one number, reports without a batch, and a stream that says nothing about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from luthier.data.batch import Batch
from luthier.engine.checkpoint import Checkpoints
from luthier.engine.plan import Plan
from luthier.engine.report import Report
from luthier.recipe import Train


class OneNumber:
    """What checkpoints and hooks need of a policy."""

    def __init__(self, value: float = 1.0) -> None:
        self.weight = nn.Parameter(torch.tensor([[value]]))

    def trainable(self) -> dict[str, nn.Parameter]:
        return {"weight": self.weight}


class NoRows:
    """A stream without rows."""

    def take(self, step: int) -> list[Batch]:
        return []

    def state(self) -> dict[str, Any]:
        return {"data": "none"}

    def restore(self, state: dict[str, Any]) -> None:
        assert state == self.state()


def report(step: int, tokens: int = 0, **metrics: float) -> Report:
    return Report(step, {}, dict(metrics), tokens=tokens)


def plan_of(policy: OneNumber, steps: int = 100) -> Plan:
    return Plan(Train(learning_rate=0.1), policy.trainable(), steps)


def keep(run: Checkpoints, step: int, policy: OneNumber, plan: Plan, reason: str | None = None) -> None:
    """Offer one step to be kept."""
    run.checkpoint(policy, plan, NoRows(), report(step, tokens=10), reason)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
