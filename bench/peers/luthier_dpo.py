"""One slice of bench/dpo.py: the same pairs through Luthier's loop, or through plain eager PyTorch for parity."""

from __future__ import annotations

import json
import resource
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from luthier_sft import Rows

from luthier.data.stream import Stream, packed
from luthier.engine.checkpoint import Checkpoints
from luthier.engine.loop import train
from luthier.engine.plan import Plan
from luthier.models.load import make_policy, save_policy
from luthier.models.locate import ModelFiles, locate
from luthier.models.policy import Policy
from luthier.models.score import over_rows, row_logprobs
from luthier.objectives import TABLE
from luthier.recipe import Adapter, Objective, Train

PARITY_PAIRS = 2


def main() -> None:
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    files = locate(job["name"], Path(job["cache"]))
    policy = make_policy(files, Adapter(), seed=0)
    rows, size = Rows(job["rows"]), job["batch_size"]
    objective = TABLE["dpo"](Objective(type="dpo", beta=job["beta"]), False)
    losses: list[float] = []
    moments: list[float] = []

    def clock(report: Any, policy: Policy) -> None:
        moments.append(time.perf_counter())
        losses.append(report.metrics["loss"])

    start = time.perf_counter()
    at_step_0 = over_rows(policy, rows, job["budget"], lambda batch: row_logprobs(policy, batch))
    reference_seconds = time.perf_counter() - start
    columns = {"row_weight": np.ones(len(rows), np.float32), "reference_logp": at_step_0}
    make = packed(rows, job["budget"], columns, share_prefix=True, together=2)
    stream = Stream(make, len(rows) // 2, size, size * job["steps"])
    plan = Plan(Train(learning_rate=5e-5, warmup_ratio=0.0, max_grad_norm=0.0), policy.trainable(), job["steps"])
    found = parity(policy, rows, columns, job, files) if job["parity"] else {}
    start = time.perf_counter()
    train(policy, objective, stream, plan, Checkpoints(Path(job["folder"]) / "c", 10**9), [clock])
    seen = [start, *moments]
    print(json.dumps({"step_seconds": [b - a for a, b in pairwise(seen)], "reference_seconds": reference_seconds,
                      "first_loss": losses[0], **found,
                      "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))  # fmt: skip


def parity(policy: Policy, rows: Rows, columns: dict[str, np.ndarray], job: dict[str, Any], files: ModelFiles) -> dict:
    """Loss and gradient of the first pairs away from step 0, beside plain transformers + PEFT, row by row, without any
    of our code; the policy is put back."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    before = {name: parameter.detach().clone() for name, parameter in policy.trainable().items()}
    for name, parameter in policy.trainable().items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01, generator=torch.Generator().manual_seed(1))
    start = Path(job["folder"]) / "start"
    save_policy(policy, start, files)
    objective = TABLE["dpo"](Objective(type="dpo", beta=job["beta"]), False)
    ours_loss = 0.0
    for batch in packed(rows, 1024, columns, share_prefix=True, together=2)(range(PARITY_PAIRS)):
        loss = objective.score(policy, batch).terms["preference"].sum() / PARITY_PAIRS
        loss.backward()
        ours_loss += float(loss)
    ours = torch.cat([p.grad.flatten() for p in policy.trainable().values() if p.grad is not None])
    with torch.no_grad():
        for name, parameter in policy.trainable().items():
            parameter.grad = None
            parameter.copy_(before[name])
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32), start, is_trainable=True
    )

    def logp(number: int) -> torch.Tensor:
        ids, mask = (torch.from_numpy(part) for part in rows.row(number))
        scores = torch.log_softmax(plain(ids[None]).logits[0, :-1], -1).gather(1, ids[1:, None])[:, 0]
        return (scores * mask[1:]).sum()

    reference, theirs_loss = columns["reference_logp"], 0.0
    for u in range(0, 2 * PARITY_PAIRS, 2):
        drift = (logp(u) - reference[u]) - (logp(u + 1) - reference[u + 1])
        loss = -F.logsigmoid(job["beta"] * drift) / PARITY_PAIRS
        loss.backward()
        theirs_loss += float(loss)
    theirs = torch.cat([p.grad.flatten() for p in plain.parameters() if p.requires_grad and p.grad is not None])
    return {
        "loss": ours_loss, "eager_loss": theirs_loss, "gradient_norm": float(ours.norm()),
        "eager_gradient_norm": float(theirs.norm()), "gradient_distance": float((ours - theirs).norm() / theirs.norm()),
    }  # fmt: skip


if __name__ == "__main__":
    main()
