"""A probe of a run that does not exist: what `luthier check --probe` finds out, with nothing left but caches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.jobs.prepare import Ready
from luthier.jobs.reporting import Stages
from luthier.store import Home


@dataclass(frozen=True)
class Remarks:
    """A reporter that passes on remarks alone."""

    note: Callable[[str], None]

    def event(self, kind: str, message: str, data: dict[str, Any] | None = None) -> None:
        """Notes and warnings, and the names of stages as they begin."""
        if kind in ("note", "warning") or (kind == "stage" and (data or {})["state"] == "start"):
            self.note(message)


def probe_of(ready: Ready, home: Home, note: Callable[[str], None]) -> dict[str, Any]:
    """`micro_batches` and `forecast` of a probe of what `ready` would fit.

    Loads the model, and computes and keeps what a run computes once before its first step.
    """
    import torch

    from luthier.engine.peak import Peak
    from luthier.jobs.probe import made
    from luthier.jobs.run import plan_of
    from luthier.jobs.workbench import Work
    from luthier.models.load import make_policy

    recipe = ready.recipe
    torch.set_num_threads(int(recipe.machine.threads))
    rows = {name: [ready.data.splits[name][i] for i in part.examples] for name, part in ready.rendered.items()}
    plan = plan_of(ready, run_id="", key="", command="", dataset="", only_fit=False)
    peak, stages = Peak(recipe.machine.device), Stages(Remarks(note))
    with tempfile.TemporaryDirectory() as folder:
        work = Work(home, plan, recipe, Path(folder), ready.files, rows, ready.rendered, stages)
        with stages.stage("load"):
            policy = make_policy(work.files, recipe.adapter, tuple(plan.labels), plan.multi_label, recipe.train.seed,
                                 recipe.machine.device)  # fmt: skip
        *_, found = made(work, policy, peak, fresh=True)
    return {name: found[name] for name in ("micro_batches", "forecast")}
