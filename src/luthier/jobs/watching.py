"""What can be seen of a run from outside: its rows, its folder, and the process that holds its lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.jobs.worker import MODULE
from luthier.jobs.workspace import PLAN, PROBE
from luthier.store import Home, runs
from luthier.store.files import held, holder, read_json
from luthier.store.runs import Event

ENDED = ("cancelled", "succeeded", "failed")
LOSS = "loss"
VALIDATION = "validation_"


@dataclass(frozen=True)
class Sight:
    """A run at one moment. Curves are (step, value) in the order of steps."""

    run_id: str
    status: str
    alive: bool
    """Whether a process works on it."""
    command: str
    steps: int | None
    """That are planned; None before there is a plan."""
    step: int = 0
    """The last one that was finished."""
    curves: Mapping[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Of the loss and of each validation metric."""
    last: Mapping[str, float] = field(default_factory=dict)
    """The metrics of the last step."""
    seconds: float = 0.0
    """Of all finished steps."""
    memory_bytes: int | None = None
    events: tuple[Event, ...] = ()
    """Oldest first."""
    outcome: Mapping[str, Any] = field(default_factory=dict)
    """`verdict`, `model` and `report` of a run that has succeeded."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.status in ENDED

    @property
    def eta_seconds(self) -> float | None:
        """What the steps that are left take, if they take what the others took."""
        if not self.step or not self.steps or self.ended:
            return None
        return self.seconds / self.step * max(0, self.steps - self.step)


def look(home: Home, run_id: str, before: Sight | None = None) -> Sight:
    """How the run stands now; of its metrics, only what is newer than `before` is read."""
    row = runs.get(home, run_id)
    lock = runs.lock_path(home, run_id)
    alive = row.status not in ENDED and held(lock)
    curves = {name: list(points) for name, points in before.curves.items()} if before else {}
    step, seconds, last = (before.step, before.seconds, before.last) if before else (0, 0.0, {})
    for at, name, value in runs.metrics(home, run_id, after=step):
        last = {name: value} if at > step else {**last, name: value}
        step = at
        seconds += value if name == "seconds" else 0.0
        if name == LOSS or name.startswith(VALIDATION):
            curves.setdefault(name, []).append((at, value))
    document = row.document or {}
    return Sight(
        run_id, row.status, alive, row.command, _steps(runs.run_folder(home, run_id)), step, curves, last, seconds,
        _memory(holder(lock)) if alive else document.get("peak_memory_bytes"),
        tuple(runs.events(home, run_id)),
        {name: document[name] for name in ("verdict", "model", "report") if document.get(name)},
    )  # fmt: skip


def _steps(folder: Path) -> int | None:
    """As the plan has it, or the probe after it."""
    for name in (PROBE, PLAN):
        if (folder / name).exists():
            return int(read_json(folder / name)["forecast"]["steps"])
    return None


def _memory(owner: int | None) -> int | None:
    """What the working processes of a run hold, which are children of the lock's owner; None where there is none."""
    import psutil

    if owner is None:
        return None
    try:
        found = [child for child in psutil.Process(owner).children(recursive=True) if MODULE in child.cmdline()]
        return sum(child.memory_info().rss for child in found) or None
    except psutil.Error:
        return None
