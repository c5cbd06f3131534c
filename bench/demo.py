"""`luthier demo` in an empty home, with the speed of a matrix product before and after.

Prints a table and writes bench/results/demo.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run it, and keep what its two jobs found."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--home", help="an empty folder that is kept")
    asked = options.parse_args()
    before, start = gemm(), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        home = asked.home or scratch
        command = [str(Path(sys.executable).with_name("luthier")), "demo", "--no-open", "--json"]
        environment = os.environ | {"LUTHIER_HOME": home}
        out = subprocess.run(command, check=False, env=environment, text=True, capture_output=True)
    seconds = time.perf_counter() - start
    if out.returncode:
        sys.exit(out.stderr[-2000:])
    second = json.loads(out.stdout)
    first = second.pop("first_light")
    result = {"seconds": seconds, "first_light_seconds": first["wall_seconds"], "gemm_gflops": [before, gemm()],
              "jobs": [job(first), job(second)]}  # fmt: skip
    for row in result["jobs"]:
        print(f"{row['name']:<14} {row['verdict']:<5} {row['metric']} {row['tuned']['value']:.3f}, better than "
              f"{row['best_baseline']} by {row['delta']['value']:.3f} ({row['delta']['low']:.3f} to "
              f"{row['delta']['high']:.3f}); {row['wall_seconds']:.0f} s")  # fmt: skip
    print(f"whole demo {seconds:.0f} s; GEMM before and after {result['gemm_gflops']}")
    (ROOT / "bench" / "results" / "demo.json").write_text(json.dumps(result, indent=1) + "\n")


def job(document: dict[str, Any]) -> dict[str, Any]:
    """What the table needs of a run document."""
    metric = document["metric"]
    return {"name": document["name"], "verdict": document["verdict"], "reasons": document["reasons"], "metric": metric,
            "tuned": document["tuned"][metric], "best_baseline": document["best_baseline"],
            "delta": document["delta"][metric], "fit_seconds": document["actual"]["seconds"],
            "forgetting": document["forgetting"], "wall_seconds": document["wall_seconds"],
            "timeline": document["timeline"]}  # fmt: skip


def gemm() -> float:
    """GFLOP/s of a 2048 × 2048 product in float32: the best of three."""
    a = np.random.default_rng(0).random((2048, 2048), dtype=np.float32)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best / 1e9


if __name__ == "__main__":
    main()
