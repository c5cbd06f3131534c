"""What is known about one optimizer step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.data.batch import Batch
from luthier.engine import world
from luthier.errors import TrainingError
from luthier.objectives.scored import Scored


@dataclass
class Report:
    """The step's number (from 1), the units each term was divided by, and what was added on the way.

    `losses` has one entry a row: its number in the data and the sum of its terms, so that rows with an abnormal
    loss can be named. Hooks may add to `metrics`.
    """

    step: int
    units: dict[str, float]
    metrics: dict[str, float] = field(default_factory=dict)
    losses: list[tuple[int, float]] = field(default_factory=list)
    tokens: int = 0
    _sums: dict[str, Tensor] = field(default_factory=dict)
    _parts: dict[str, list[Tensor]] = field(default_factory=dict)
    _rows: list[tuple[list[int], Tensor]] = field(default_factory=list)

    def add(self, batch: Batch, scored: Scored) -> None:
        """Take in one micro-batch, on the device that scored it: nothing is waited for."""
        total: Any = 0
        for name, term in scored.terms.items():
            self._sums[name] = self._sums.get(name, 0) + term.detach().sum()
            total = total + term.detach()
        for name, values in scored.metrics.items():
            self._parts.setdefault(name, []).append(values.detach().float())
        self._rows.append((batch.numbers_R.tolist(), total))
        self.tokens += batch.tokens

    def settle(self) -> None:
        """Read the loss of each row, after the last micro-batch and before weights change.

        Raises TrainingError where one is not finite.
        """
        for numbers, total in self._rows:
            losses = list(zip(numbers, total.tolist(), strict=True))
            wild = [number for number, loss in losses if not math.isfinite(loss)]
            if wild:
                raise TrainingError(
                    f"the loss of {len(wild)} of {len(losses)} rows is not finite",
                    where=f"step {self.step}, rows {wild[:5]} of the training split",
                    mend="Look at these rows; a lower `train.learning_rate` or a longer `train.warmup_ratio` helps "
                    "where the loss grew before",
                )
            self.losses += losses
        self._rows = []

    def close(self, metrics: dict[str, float]) -> None:
        """Finish the step, with what all ranks have added: each term over its units, the sum of them as `loss`, the
        means of the metrics."""
        sums = {name: float(total) for name, total in self._sums.items()}
        parts = {name: torch.cat(own).cpu().numpy() for name, own in self._parts.items()}
        ranks = world.gathered((sums, parts, self.losses, self.tokens))
        self.losses = [loss for _, _, losses, _ in ranks for loss in losses]
        self.tokens = sum(tokens for *_, tokens in ranks)
        terms = {name: sum(all_sums) / (self.units[name] or 1.0) for name, all_sums in _by_name(r[0] for r in ranks)}
        means = {name: float(np.mean(np.concatenate(every))) for name, every in _by_name(r[1] for r in ranks)}
        self.metrics = {"loss": sum(terms.values()), **terms, **means, **metrics, **self.metrics}


def _by_name(parts: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, list[Any]]]:
    """Each name, with the values that it has in those of the parts that have it."""
    found: dict[str, list[Any]] = {}
    for part in parts:
        for name, value in part.items():
            found.setdefault(name, []).append(value)
    return found.items()
