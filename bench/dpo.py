"""DPO with LoRA, Luthier beside TRL, in short slices that take turns; parity with plain PyTorch.

    python bench/dpo.py --data hh-rlhf.jsonl [--pairs 3] [--peer .venv-peer/bin/python] [--only-luthier]

`--data` is a JSON Lines file of preference pairs, such as `chosen` and `rejected` transcripts. The program renders them
itself; both sides get the same token ids, batch of 8 pairs and threads. TRL computes its reference in every step;
Luthier once before the first, and the seconds that this takes for the counted pairs are among its seconds, as if
there were one epoch only. The peer needs its own environment with torch, trl, peft and datasets. Prints a table and
writes bench/results/dpo.json.
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
from typing import Any

from demo import gemm

from luthier.data.pairs import as_rows, rejoin
from luthier.data.render import Renderer
from luthier.data.sources import read
from luthier.models.locate import locate
from luthier.recipe import DataEntry

ROOT = Path(__file__).resolve().parents[1]
MODEL, BATCH, LENGTH, THREADS, BETA = "smollm2-135m-instruct", 8, 512, 2, 0.1
WARM, COUNTED = 1, 2
"""Optimizer steps of a slice: not counted, counted."""
PEERS: dict[str, dict[str, Any]] = {
    "TRL, its defaults": {"per_device_train_batch_size": 8},
    "TRL, no checkpointing": {
        "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "gradient_checkpointing": False},
}  # fmt: skip


def main() -> None:
    """Take turns, print medians and ratios."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--pairs", type=int, default=3)
    options.add_argument("--batch", type=int, default=BATCH, help="Preference pairs a step.")
    options.add_argument("--peer", default=str(ROOT / ".venv-peer" / "bin" / "python"))
    options.add_argument("--only-luthier", action="store_true", help="One slice, without peers; writes nothing.")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows, model, cache = render(asked.data, asked.batch)
        job = {"rows": rows, "name": MODEL, "model": str(model), "cache": str(cache), "threads": THREADS,
               "sequence_len": LENGTH, "batch_size": asked.batch, "budget": 1024, "beta": BETA,
               "steps": WARM + COUNTED, "parity": False}  # fmt: skip
        peers = {} if asked.only_luthier else PEERS
        turns = 1 if asked.only_luthier else asked.pairs
        slices = [turn(job, peers, asked.peer, Path(scratch), number == 0) for number in range(turns)]
    result = summary(slices)
    if not asked.only_luthier:
        (ROOT / "bench" / "results" / "dpo.json").write_text(json.dumps(result, indent=1) + "\n")
    show(result)


def render(data: Path, batch: int) -> tuple[list[dict[str, list[int]]], Path, Path]:
    """Token ids and answer masks of as many pairs as a slice needs, two rows each, and where the model lies."""
    cache = ROOT / ".cache-bench"
    files = locate(MODEL, cache)
    pairs = read(DataEntry(path=str(data.resolve()), type="preference"), Path.cwd()).examples[: 4 * batch * 3]
    pairs = [pair for pair in pairs if str(pair.answer()).strip()]
    both = Renderer.from_folder(files.folder).rows(
        [row for pair in pairs for row in as_rows(pair)], sequence_len=LENGTH, truncation="drop"
    )
    found = rejoin(both, pairs)
    rows = [
        {"ids": ids.tolist(), "mask": (weights > 0).astype(int).tolist()}
        for ids, weights in map(found.row, range(2 * batch * (WARM + COUNTED)))
    ]
    return rows, files.folder, cache


def turn(
    job: dict[str, Any], peers: dict[str, dict[str, Any]], peer: str, scratch: Path, first: bool
) -> dict[str, dict[str, Any]]:
    """One slice of each side, with the speed of a matrix product before and after each."""
    sides: dict[str, tuple[list[str], dict[str, Any]]] = {
        "Luthier": ([sys.executable, "bench/peers/luthier_dpo.py"], {"parity": first})
    }
    for name, settings in peers.items():
        sides[name] = ([peer, "bench/peers/trl_dpo.py"], {"settings": settings})
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
        counted = answer["step_seconds"][WARM:]
        reference = answer.get("reference_seconds", 0.0) * len(counted) / len(answer["step_seconds"])
        speed = job["batch_size"] * len(counted) / (sum(counted) + reference)
        found[name] = answer | {"pairs_per_second": speed, "gemm_gflops": (before + gemm()) / 2}
        print(f"{name:<28}{speed:8.3f} pairs/s   gemm {found[name]['gemm_gflops']:.0f}", flush=True)
    return found


def summary(slices: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Medians of each side and of the ratios within a turn."""
    sides = {
        name: {
            "pairs_per_second": statistics.median(s[name]["pairs_per_second"] for s in slices),
            "gemm_gflops": statistics.median(s[name]["gemm_gflops"] for s in slices),
            "peak_memory_bytes": max(s[name]["peak_memory_bytes"] for s in slices),
            "ratio": statistics.median(s["Luthier"]["pairs_per_second"] / s[name]["pairs_per_second"] for s in slices),
        }
        for name in slices[0]
    }
    names = ("first_loss", "loss", "eager_loss", "gradient_norm", "eager_gradient_norm", "gradient_distance")
    return {"pairs": len(slices), "sides": sides, "parity": {name: slices[0]["Luthier"][name] for name in names}}


def show(result: dict[str, Any]) -> None:
    """The table."""
    print(f"\n{'':<28}{'pairs/s':>9}{'GEMM GFLOP/s':>14}{'peak memory':>13}{'Luthier is':>12}")
    for name, side in result["sides"].items():
        print(f"{name:<28}{side['pairs_per_second']:>9.3f}{side['gemm_gflops']:>14.0f}"
              f"{side['peak_memory_bytes'] / 1e9:>10.1f} GB{side['ratio']:>10.2f} x")  # fmt: skip
    for name, value in result["parity"].items():
        print(f"{name:<24}{value:.8g}")


if __name__ == "__main__":
    main()
