"""Luthier's solvers on rows or prompts that are already token ids. Reads a JSON job on stdin."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness.machine import peak_memory
from harness.rows import digest

from luthier.data.render import Renderer
from luthier.engine.budget import BEST_MICRO_BATCH_TOKENS
from luthier.models.load import load_base
from luthier.models.locate import locate
from luthier.models.policy import Policy
from luthier.models.sample import sample
from luthier.models.score import row_nll


class Rows:
    """The job's rows as packing wants them."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.lengths = np.array([len(row["ids"]) for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and weights."""
        return np.array(self.rows[index]["ids"]), np.array(self.rows[index]["mask"], np.float32)


def main() -> None:
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    files = locate(job["name"], Path(job["cache"]))
    policy, stops = load_base(files), Renderer.from_folder(files.folder).eos_ids
    run(policy, job, job["warm"], stops)
    start = time.perf_counter()
    found = run(policy, job, job["rows"], stops)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_memory_bytes": peak_memory(), **found}))


def run(policy: Policy, job: dict[str, Any], rows: list[dict[str, Any]], stops: tuple[int, ...]) -> dict[str, Any]:
    """What the evaluation's solvers call, with the sizes they use."""
    if job["doing"] == "generate":
        prompts = [row["prompt"] for row in rows]
        answers = sample(policy, prompts, max_new_tokens=job["max_new_tokens"], stop_ids=stops)
        return {"answers": answers, "digest": digest((ids, []) for ids in prompts)}
    nll, _ = row_nll(policy, Rows(rows), BEST_MICRO_BATCH_TOKENS["cpu"])
    return {"nll": nll.tolist(), "digest": digest((row["ids"], row["mask"]) for row in rows)}


if __name__ == "__main__":
    main()
