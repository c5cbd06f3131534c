"""LoRA fine-tuning speed and memory, Luthier beside TRL, in short slices that take turns; parity with plain PyTorch.

    python bench/sft.py --data dolly.jsonl [--pairs 5] [--peer .venv-peer/bin/python]

`--data` is a JSON Lines file with `instruction`, `context` and `response`. The program renders the rows itself and
counts their tokens; both sides get the same token ids, batch of 16 rows and threads. The peer needs its own
environment with torch, trl, peft and datasets. Prints a table and writes bench/results/sft.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from demo import gemm

from luthier.data.render import Renderer
from luthier.data.sources import read
from luthier.models.locate import locate
from luthier.recipe import DataEntry

ROOT = Path(__file__).resolve().parents[1]
MODEL, BATCH, LENGTH, THREADS = "smollm2-135m-instruct", 16, 1024, 2
WARM, COUNTED = 1, 2
"""Optimizer steps of a slice: not counted, counted."""
PEERS = {
    "TRL, its defaults": {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2},
    "TRL, packing, no checkpointing": {
        "per_device_train_batch_size": 1, "packing": True, "gradient_checkpointing": False,
        "gradient_accumulation_steps": 4},
}  # fmt: skip


def main() -> None:
    """Take turns, print medians and ratios."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--peer", default=str(ROOT / ".venv-peer" / "bin" / "python"))
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows, model, cache = render(asked.data, Path(scratch))
        job = {"rows": rows, "name": MODEL, "model": str(model), "cache": str(cache), "threads": THREADS,
               "sequence_len": LENGTH, "batch_size": BATCH, "budget": 1024,
               "steps": WARM + COUNTED, "parity": False}  # fmt: skip
        slices = [turn(job, asked.peer, Path(scratch), number == 0) for number in range(asked.pairs)]
    result = summary(slices)
    (ROOT / "bench" / "results" / "sft.json").write_text(json.dumps(result, indent=1) + "\n")
    show(result)


def render(data: Path, scratch: Path) -> tuple[list[dict], Path, Path]:
    """Token ids and answer masks of as many rows as a slice needs, and where the model lies."""
    cache = ROOT / ".cache-bench"
    files = locate(MODEL, cache)
    examples = read(DataEntry(path=str(data.resolve())), Path.cwd()).examples[: BATCH * (WARM + COUNTED)]
    found = Renderer.from_folder(files.folder).rows(examples, sequence_len=LENGTH, truncation="right")
    rows = [
        {"ids": ids.tolist(), "mask": (weights > 0).astype(int).tolist()}
        for ids, weights in map(found.row, range(len(found)))
    ]
    return rows, files.folder, cache


def turn(job: dict, peer: str, scratch: Path, first: bool) -> dict:
    """One slice of each side, with the speed of a matrix product before and after each."""
    sides = {"Luthier": ([sys.executable, "bench/peers/luthier_sft.py"], {"parity": first})}
    for name, settings in PEERS.items():
        sides[name] = ([peer, "bench/peers/trl_sft.py"], {"settings": settings})
    found = {}
    for name, (command, extra) in sides.items():
        folder = scratch / f"{time.monotonic_ns()}"
        folder.mkdir()
        before = gemm()
        out = subprocess.run(command, input=json.dumps(job | extra | {"folder": str(folder)}), cwd=ROOT, text=True,
                             capture_output=True, check=False)  # fmt: skip
        if out.returncode:
            sys.exit(f"{name}: {out.stderr[-2000:]}")
        answer = json.loads(out.stdout.strip().splitlines()[-1])
        seconds = sum(answer["step_seconds"][WARM:])
        tokens = tokens_of(job, name, len(answer["step_seconds"]) - WARM)
        found[name] = answer | {"tokens_per_second": tokens / seconds, "gemm_gflops": (before + gemm()) / 2}
        print(f"{name:<32}{tokens / seconds:7.0f} tokens/s   gemm {found[name]['gemm_gflops']:.0f}", flush=True)
    return found


def tokens_of(job: dict, name: str, steps: int) -> float:
    """Tokens of data in the counted steps: exact for batches of rows, the mean for packs of rows."""
    lengths = [len(row["ids"]) for row in job["rows"]]
    if "packing" in name:
        return steps * 4 * LENGTH * sum(lengths) / (np.ceil(sum(lengths) / LENGTH) * LENGTH)
    return steps * BATCH * sum(lengths) / len(lengths)


def summary(slices: list[dict]) -> dict:
    """Medians of each side and of the ratios within a turn."""
    sides = {
        name: {
            "tokens_per_second": statistics.median(s[name]["tokens_per_second"] for s in slices),
            "gemm_gflops": statistics.median(s[name]["gemm_gflops"] for s in slices),
            "peak_memory_bytes": max(s[name]["peak_memory_bytes"] for s in slices),
            "ratio": statistics.median(
                s["Luthier"]["tokens_per_second"] / s[name]["tokens_per_second"] for s in slices
            ),
        }
        for name in slices[0]
    }
    names = ("loss", "eager_loss", "gradient_norm", "eager_gradient_norm", "gradient_distance")
    return {"pairs": len(slices), "sides": sides, "parity": {name: slices[0]["Luthier"][name] for name in names}}


def show(result: dict) -> None:
    """The table."""
    print(f"\n{'':<32}{'tokens/s':>9}{'GEMM GFLOP/s':>14}{'peak memory':>13}{'Luthier is':>12}")
    for name, side in result["sides"].items():
        print(f"{name:<32}{side['tokens_per_second']:>9.0f}{side['gemm_gflops']:>14.0f}"
              f"{side['peak_memory_bytes'] / 1e9:>10.1f} GB{side['ratio']:>10.2f} x")  # fmt: skip
    for name, value in result["parity"].items():
        print(f"{name:<24}{value:.8g}")


if __name__ == "__main__":
    main()
