"""Luthier's steps on a GPU: of a model in a folder, or of one that no card holds in sixteen bits, in NF4."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier.data.batch import Batch, pack
from luthier.data.forest import Row
from luthier.engine.plan import Plan
from luthier.models.adapt.table import ADD
from luthier.models.four_bit import Nf4
from luthier.models.held import HeldLinear
from luthier.models.load import _Make, _policy, make_policy
from luthier.models.locate import ModelFiles, locate
from luthier.models.packed import fill, linear_layers
from luthier.models.policy import Policy
from luthier.models.precision import DTYPES, compute_in
from luthier.models.recompute import recompute_blocks
from luthier.objectives import TABLE
from luthier.recipe import Adapter, Objective, Train

MICRO_BATCH = 16_384
"""Tokens, at most; as the forecast has it for GPUs."""


def main() -> None:
    job = json.load(sys.stdin)
    files = locate(job["model"], Path(job["scratch"]), precision="bfloat16")
    adapter = Adapter(type="full") if job["trained"] == "full" else Adapter(lora_r=16, lora_alpha=32.0)
    if job["made"]:
        policy = made(files, adapter, "cuda")
    else:
        policy = make_policy(files, adapter, seed=0, device="cuda")
    if job["recompute"]:
        recompute_blocks(policy.wrapped)
    print(json.dumps(timed(policy, batches(job), job["warm"], job["steps"])))


def batches(job: dict[str, Any]) -> list[Batch]:
    """The rows of a step, packed."""
    draw, count = np.random.default_rng(0), max(1, MICRO_BATCH // job["length"])
    weights = np.r_[0.0, np.ones(job["length"] - 1)].astype(np.float32)
    rows = [Row(draw.integers(5, 250, job["length"]), weights, number) for number in range(job["rows"])]
    return [pack(rows[start : start + count]).pinned() for start in range(0, len(rows), count)]


def timed(policy: Policy, parts: list[Batch], warm: int, steps: int) -> dict[str, Any]:
    """The median step, and the most memory that was allocated."""
    sft = TABLE["sft"](Objective(), False)
    plan = Plan(Train(learning_rate=1e-5), policy.trainable(), warm + steps)
    policy.train()
    seconds, losses = [], []
    for number in range(warm + steps):
        torch.cuda.synchronize()
        begun, units = time.perf_counter(), {"nll": sum(sft.count(part)["nll"] for part in parts)}
        moved = [part.to("cuda") for part in parts]
        scored = [one.terms["nll"].detach().sum() for one in plan.backward(policy, sft, moved, units)]
        plan.step(number)
        losses.append(float(sum(scored)) / units["nll"])
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return {"seconds": float(np.median(seconds[warm:])), "peak_memory_bytes": torch.cuda.max_memory_allocated(),
            "losses": losses}  # fmt: skip


def made(files: ModelFiles, adapter: Adapter, device: str) -> Policy:
    """A policy whose base was never whole: each linear layer is drawn, packed into four bits, and let go."""
    dtype = DTYPES[files.precision]
    model = _Make(files.folder, files).empty()
    draw = torch.Generator(device).manual_seed(0)
    layers = dict(linear_layers(model))
    for name, layer in layers.items():
        weight = torch.randn(layer.weight.shape, generator=draw, device=device).mul_(0.02)
        model.set_submodule(name, HeldLinear(layer, Nf4(Nf4.parts(weight))))
    rest = {name: weight for name, weight in model.named_parameters() if weight.is_meta}
    fill(model, {name: torch.ones(weight.shape, device=device, dtype=dtype) if weight.ndim == 1 else
                 torch.randn(weight.shape, generator=draw, device=device, dtype=dtype).mul_(0.02)
                 for name, weight in rest.items()})  # fmt: skip
    policy = _policy(model.to(device), files.kind, files.precision)
    torch.manual_seed(0)
    ADD[adapter.type](policy, adapter)
    compute_in(policy.wrapped, dtype)
    return policy


if __name__ == "__main__":
    main()
