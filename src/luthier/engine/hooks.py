"""What may look at a step, and stop the run: validation, the best weights, patience, budget, control, progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from luthier.engine import world
from luthier.engine.checkpoint import PAUSED, Checkpoints
from luthier.engine.report import Report
from luthier.models.policy import Policy

HIGHER_IS_BETTER = {"accuracy", "macro_f1", "reward"}


@dataclass
class Clock:
    """Counts the seconds of each step into the run's total; of what follows the last one, with `stop`. Must be the
    first hook."""

    run: Checkpoints
    last: float = field(default_factory=time.perf_counter)

    def __call__(self, report: Report, policy: Policy) -> None:
        report.metrics["seconds"] = self.stop()

    def stop(self) -> float:
        """Count the seconds since the last step, and return them."""
        now = time.perf_counter()
        took, self.last = now - self.last, now
        self.run.seconds += took
        return took


@dataclass
class Validate:
    """Measures the policy every `every` steps and at the last; keeps the weights of the best `metric` so far.

    `measure` returns validation metrics by name. They go into the report as `validation_<name>` and into the run's
    history, from which best and patience are derived. `seconds` is what the last one took; before the first, what one
    is expected to take.
    """

    run: Checkpoints
    measure: Callable[[Policy], dict[str, float]]
    metric: str
    every: int
    steps: int
    seconds: float = 0.0

    def due(self, step: int) -> bool:
        """Whether the policy is measured after this step (from 1)."""
        return step % self.every == 0 or step == self.steps

    def __call__(self, report: Report, policy: Policy) -> None:
        if not self.due(report.step):
            return
        start = time.perf_counter()
        measured = world.agreed(self.measure(policy))
        self.seconds = time.perf_counter() - start
        report.metrics |= {f"validation_{name}": value for name, value in measured.items()}
        self.run.history.append({"step": report.step, **measured})
        if best_entry(self.run.history, self.metric)["step"] == report.step:
            self.run.keep_best(policy, report.step)


@dataclass
class Patience:
    """Stops when the best of the history lies more than `evaluations` evaluations back."""

    run: Checkpoints
    metric: str
    evaluations: int

    def __call__(self, report: Report, policy: Policy) -> str | None:
        history = self.run.history
        if not history or history[-1]["step"] != report.step:
            return None
        since = len(history) - 1 - history.index(best_entry(history, self.metric))
        return f"{self.metric} has not improved for {since} evaluations" if since >= self.evaluations else None


@dataclass
class Budget:
    """Stops before a step that would pass `seconds` in all, judging by the slowest of the last steps and, where the
    policy is measured after the next one, by what that took the last time. Must come after `validate`."""

    run: Checkpoints
    seconds: float
    validate: Validate | None = None
    recent: list[float] = field(default_factory=list)
    measured: float = 0.0
    """Seconds of the validation after the step before, which the clock counts to this one."""

    def __call__(self, report: Report, policy: Policy) -> str | None:
        self.recent = [*self.recent[-9:], report.metrics["seconds"] - self.measured]
        self.measured = self._validation(report.step)
        coming = max(self.recent) + self._validation(report.step + 1)
        over = self.run.seconds + self.measured + coming > self.seconds
        return f"the budget of {self.seconds:.0f} s is used up" if over else None

    def _validation(self, step: int) -> float:
        return self.validate.seconds if self.validate is not None and self.validate.due(step) else 0.0


@dataclass
class Control:
    """Looks each step for an order from outside: `pause` or `cancel`."""

    look: Callable[[], str | None]

    def __call__(self, report: Report, policy: Policy) -> str | None:
        return {"pause": PAUSED, "cancel": "cancelled"}.get(self.look() or "")


@dataclass
class Announce:
    """Tells `emit` about each step: metrics, speed and the time that is left. Must come after those that measure."""

    run: Checkpoints
    steps: int
    emit: Callable[[dict[str, Any]], None]

    def __call__(self, report: Report, policy: Policy) -> None:
        tokens = self.run.tokens + report.tokens
        speed = tokens / self.run.seconds if self.run.seconds else 0.0
        left = self.run.seconds / report.step * (self.steps - report.step)
        self.emit({"step": report.step, "steps": self.steps, "tokens": tokens, "tokens_per_second": speed,
                   "seconds": self.run.seconds, "eta_seconds": left, "metrics": dict(report.metrics)})  # fmt: skip


def best_entry(history: list[dict[str, float]], metric: str) -> dict[str, float]:
    """The first entry of the history with the best value of `metric`."""
    sign = -1 if metric in HIGHER_IS_BETTER else 1
    return min(history, key=lambda entry: (sign * entry[metric], entry["step"]))
