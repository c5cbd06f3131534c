"""Checkpoints: everything that decides the next step, written whole or not at all.

    checkpoints/step-00000040/   weights.safetensors  optimizer.safetensors  random.safetensors  state.json
    checkpoints/best-00000030/   weights.safetensors

The newest `step-` folder is the one to go on from; the newest `best-` folder holds the best weights so far. Of several
processes, each writes what it alone holds (`pieces`), and any number of them can go on.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.engine import pieces, world
from luthier.engine.loop import Source
from luthier.engine.plan import Plan
from luthier.engine.report import Report
from luthier.models.policy import Policy

PAUSED = "paused"
"""The one reason to stop after which the same run goes on."""


class Checkpoints:
    """The memory of a run in one folder.

    `history` holds the metrics of each evaluated step, `seconds` the time spent in steps by all processes so far;
    hooks read and extend both. `every` is the number of steps between checkpoints; the last step is always kept.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0
        self.tokens = 0
        self.reason: str | None = None

    def restore(self, policy: Policy, plan: Plan, stream: Source) -> int:
        """Put the newest checkpoint back and return its step; 0, and nothing changed, where there is none.

        Raises TrainingError where it was written with other data or another order of rows.
        """
        latest = newest(self.folder, "step")
        if latest is None:
            return 0
        state = json.loads((latest / "state.json").read_text(encoding="utf-8"))
        stream.restore(state["stream"])
        load_weights(policy, latest)
        plan.restore(pieces.read(latest, "optimizer", plan.like))
        own = world.rank() % len(state["random"])
        _restore_random(pieces.read(latest, "random", lambda name: None), state["random"][own], f"{own}/")
        self.history, self.seconds, self.tokens = state["history"], state["seconds"], state["tokens"]
        self.reason = state["reason"]
        return int(state["step"])

    def checkpoint(self, policy: Policy, plan: Plan, stream: Source, report: Report, reason: str | None) -> None:
        """Keep this step if it is due, the last of the plan, or the one at which a hook stopped the run."""
        self.tokens += report.tokens
        self.reason = reason
        if not (reason or report.step % self.every == 0 or report.step == plan.steps):
            return
        ranks = world.gathered(_random_state())
        state = {
            "step": report.step, "history": self.history, "seconds": self.seconds, "tokens": self.tokens,
            "reason": None if reason == PAUSED else reason, "stream": stream.state(),
            "random": [plain for _, plain in ranks],
        }  # fmt: skip
        tensors: dict[str, Mapping[str, Tensor]] = {
            "weights": policy.trainable(),
            "optimizer": plan.state(),
            "random": {f"{rank}/{name}": own for rank, (every, _) in enumerate(ranks) for name, own in every.items()},
        }
        write(self.folder, f"step-{report.step:08d}", tensors, state)

    def keep_best(self, policy: Policy, step: int) -> None:
        """Keep the weights of this step as the best so far."""
        write(self.folder, f"best-{step:08d}", {"weights": policy.trainable()}, {"step": step})


def best_step(folder: Path) -> int | None:
    """The step whose weights are the best so far; None where none was ever judged."""
    best = newest(folder, "best")
    return None if best is None else int(best.name.partition("-")[2])


def load_best(policy: Policy, folder: Path) -> None:
    """Give the policy the best weights, or the newest where none was ever judged."""
    chosen = newest(folder, "best") or newest(folder, "step")
    if chosen is not None:
        load_weights(policy, chosen)


def load_weights(policy: Policy, checkpoint: Path) -> None:
    """Copy a checkpoint's weights into the policy's trainable parameters."""
    learnt = policy.trainable()
    saved = pieces.read(checkpoint, "weights", learnt.get)
    with torch.no_grad():
        for name, parameter in learnt.items():
            parameter.copy_(saved[name])


def newest(folder: Path, kind: str) -> Path | None:
    """The finished folder `kind-<step>` with the highest step."""
    return max(folder.glob(f"{kind}-" + "[0-9]" * 8), default=None)


def write(folder: Path, name: str, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
    """Write a checkpoint under another name, flush it to disk, rename it, and only then remove older ones.

    All processes must call this: each has its shards of the tensors.
    """
    part = folder / f"{name}.part"
    apart = any(map(pieces.in_parts, tensors.values()))
    if world.leads():
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    if apart:
        world.meet()
    if apart or world.leads():
        for file, values in tensors.items():
            for path in pieces.write(part, file, values):
                _flush(path)
    if apart:
        world.meet()
    if world.leads():
        (part / "state.json").write_text(json.dumps(state), encoding="utf-8")
        _flush(part / "state.json")
        _flush(part)
        _put(part, folder / name)


def _put(part: Path, place: Path) -> None:
    """Let a finished folder be the only one of its kind."""
    shutil.rmtree(place, ignore_errors=True)
    part.rename(place)
    _flush(place.parent)
    for older in place.parent.glob(f"{place.name.partition('-')[0]}-*"):
        if older != place:
            shutil.rmtree(older, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _random_state() -> tuple[dict[str, Tensor], list[Any]]:
    kind, keys, *rest = np.random.get_state()
    generators = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
    }
    if torch.cuda.is_available():
        generators["cuda"] = torch.cuda.get_rng_state()
    version, state, gauss = random.getstate()
    return generators, [kind, [float(value) for value in rest], version, list(state), gauss]


def _restore_random(every: dict[str, Tensor], plain: list[Any], start: str) -> None:
    """Put back what stands under names with this start."""
    generators = {name.removeprefix(start): value for name, value in every.items() if name.startswith(start)}
    kind, (position, has_gauss, gauss), version, state, python_gauss = plain
    torch.set_rng_state(generators["torch"])
    if "cuda" in generators:
        torch.cuda.set_rng_state(generators["cuda"])
    np.random.set_state((kind, generators["numpy"].numpy().astype(np.uint32), int(position), int(has_gauss), gauss))
    random.setstate((version, tuple(state), python_gauss))
