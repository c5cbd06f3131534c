"""Fits by two processes on one machine, which start once and do them one after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing
from works import ready_of, work_of

from luthier.engine.place import RENDEZVOUS
from luthier.jobs.fit import fit
from luthier.jobs.reporting import Silent, Stages
from luthier.jobs.workbench import Work
from luthier.store import Home, runs

COUNT = 2
SECONDS = 600
Pause = int | None
"""The step after which a fit is paused; it does not go on."""


def work_for(path: Path, home: Home, processes: int, parallel: str, budget: int) -> Work:
    """The run of a recipe, in micro-batches of at most `budget` tokens."""
    work = work_of(ready_of(path, home, f"machine.num_processes={processes}", f"machine.parallel={parallel}"), home)
    plan = replace(work.plan, forecast=work.plan.forecast | {"micro_batch_tokens": budget})
    work.folder.mkdir(parents=True, exist_ok=True)
    return replace(work, plan=plan)


def fit_apart(works: Sequence[tuple[Work, Pause]], meeting: Path) -> None:
    """Fit each of the works, one after the other, in two processes."""
    bare = [(replace(work, home=work.home.root, stages=None), pause) for work, pause in works]  # type: ignore[arg-type]
    context = multiprocessing.spawn(_fits, (bare, meeting), COUNT, join=False)
    deadline = time.monotonic() + SECONDS
    while not context.join(1):
        assert time.monotonic() < deadline, "the two processes wait for ever"


def fit_one(work: Work, pause: Pause = None) -> dict[str, Any]:
    """Fit, or pause after a step."""
    asked = iter(range(1, 1 << 30))
    return fit(work, lambda: "pause" if next(asked) == pause else None)


def _fits(rank: int, works: Sequence[tuple[Work, Pause]], meeting: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(COUNT), "GLOO_SOCKET_IFNAME": "lo"}
    for number, (work, pause) in enumerate(works):
        os.environ[RENDEZVOUS] = (meeting / str(number)).as_uri()
        fit_one(replace(work, home=Home(work.home), stages=Stages(Silent())), pause)  # type: ignore[arg-type]


def curve(work: Work) -> Mapping[str, list[tuple[int, float]]]:
    """Loss, gradient norm and validation of each step."""
    found: dict[str, list[tuple[int, float]]] = {}
    for step, name, value in runs.metrics(work.home, work.plan.run_id):
        if name in ("loss", "grad_norm", "accuracy") or name.startswith("validation_"):
            found.setdefault(name, []).append((step, value))
    return found
