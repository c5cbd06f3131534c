"""One slice of bench/sft.py: the same rows through Luthier's loop, or through plain eager PyTorch for parity."""

from __future__ import annotations

import json
import resource
import sys
import time
from itertools import pairwise
from pathlib import Path

from luthier.engine.allocator import keep_pages

keep_pages()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from luthier.data.stream import Stream, packed  # noqa: E402
from luthier.engine.checkpoint import Checkpoints  # noqa: E402
from luthier.engine.loop import train  # noqa: E402
from luthier.engine.plan import Plan  # noqa: E402
from luthier.models.load import make_policy, save_policy  # noqa: E402
from luthier.models.locate import locate  # noqa: E402
from luthier.objectives import TABLE  # noqa: E402
from luthier.recipe import Adapter, Objective, Train  # noqa: E402


class Rows:
    """The job's rows as the stream wants them."""

    def __init__(self, rows: list[dict]) -> None:
        self.rows = rows
        self.lengths = np.array([len(row["ids"]) for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        row = self.rows[index]
        return np.array(row["ids"]), np.array(row["mask"], np.float32)


def main() -> None:
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    files = locate(job["name"], Path(job["cache"]))
    policy = make_policy(files, Adapter(), seed=0)
    rows, size = Rows(job["rows"]), job["batch_size"]
    moments: list[float] = []

    def clock(report: object, policy: object) -> None:
        moments.append(time.perf_counter())

    stream = Stream(packed(rows, job["budget"], share_prefix=True), len(rows), size, size * job["steps"])
    plan = Plan(Train(learning_rate=1e-4, warmup_ratio=0.0, max_grad_norm=0.0), policy.trainable(), job["steps"])
    found = parity(policy, rows, files.folder, Path(job["folder"]), files) if job["parity"] else {}
    start = time.perf_counter()
    train(
        policy, TABLE["sft"](Objective(), False), stream, plan, Checkpoints(Path(job["folder"]) / "c", 10**9), [clock]
    )
    seen = [start, *moments]
    print(json.dumps({"step_seconds": [b - a for a, b in pairwise(seen)], **found,
                      "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))  # fmt: skip


def parity(policy, rows: Rows, model: Path, folder: Path, files) -> dict:
    """Loss and gradient of the first rows, beside plain transformers + PEFT, row by row, without any of our code."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    for name, parameter in policy.trainable().items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01, generator=torch.Generator().manual_seed(1))
    save_policy(policy, folder / "start", files)
    objective, numbers = TABLE["sft"](Objective(), False), range(4)
    batches = packed(rows, 1024, share_prefix=True)(numbers)
    units = sum(objective.count(batch)["nll"] for batch in batches)
    ours_loss = 0.0
    for batch in batches:
        loss = objective.score(policy, batch).terms["nll"].sum() / units
        loss.backward()
        ours_loss += float(loss)
    ours = torch.cat([p.grad.flatten() for p in policy.trainable().values()])
    for parameter in policy.trainable().values():
        parameter.grad = None
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), folder / "start", is_trainable=True
    )
    theirs_loss = 0.0
    for number in numbers:
        ids, mask = (torch.from_numpy(part) for part in rows.row(number))
        scores = torch.log_softmax(plain(ids[None]).logits[0, :-1], -1).gather(1, ids[1:, None])[:, 0]
        loss = -(scores * mask[1:]).sum() / units
        loss.backward()
        theirs_loss += float(loss)
    theirs = torch.cat([p.grad.flatten() for p in plain.parameters() if p.requires_grad])
    return {
        "loss": ours_loss, "eager_loss": theirs_loss, "gradient_norm": float(ours.norm()),
        "eager_gradient_norm": float(theirs.norm()), "gradient_distance": float((ours - theirs).norm() / theirs.norm()),
    }  # fmt: skip


if __name__ == "__main__":
    main()
