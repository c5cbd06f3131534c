"""The batches of the next step are made while a GPU works on those of this one."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from luthier.data.batch import Batch
from luthier.engine.loop import Source


@dataclass
class Ahead:
    """A source of which a step depends on its number alone, made one step ahead of `steps` in a thread of its own.

    With `pinned`, batches lie in page-locked memory, from which a GPU copies without holding up the step.
    """

    source: Source
    steps: int
    pinned: bool = True
    waiting: dict[int, Future[list[Batch]]] = field(default_factory=dict)
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "ahead"))

    def take(self, step: int) -> list[Batch]:
        """The micro-batches of optimizer step `step`."""
        made = self.waiting.pop(step, None)
        self.waiting.clear()
        batches = self._make(step) if made is None else made.result()
        if step + 1 < self.steps:
            self.waiting[step + 1] = self.thread.submit(self._make, step + 1)
        return batches

    def _make(self, step: int) -> list[Batch]:
        batches = self.source.take(step)
        return [batch.pinned() for batch in batches] if self.pinned else batches

    def state(self) -> dict[str, Any]:
        """That of the source, which does not depend on what was taken."""
        return self.source.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raise TrainingError where the checkpoint was made with other rows or another order."""
        self.source.restore(dict(state))
