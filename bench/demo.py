"""`luthier demo` in an empty home, with the speed of a matrix product before and after.

Prints a table and writes bench/results/demo.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

from harness.luthier import luthier
from harness.machine import gemm
from harness.output import write_result


def main() -> None:
    """Run it, and keep what its two jobs found."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--home", help="an empty folder that is kept")
    asked = options.parse_args()
    before, start = gemm(), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        second = luthier(asked.home or scratch, "demo", "--no-open")
    seconds = time.perf_counter() - start
    first = second.pop("first_light")
    result = {"seconds": seconds, "first_light_seconds": first["wall_seconds"], "gemm_gflops": [before, gemm()],
              "jobs": [job(first), job(second)]}  # fmt: skip
    for row in result["jobs"]:
        print(f"{row['name']:<14} {row['verdict']:<5} {row['metric']} {row['tuned']['value']:.3f}, better than "
              f"{row['best_baseline']} by {row['delta']['value']:.3f} ({row['delta']['low']:.3f} to "
              f"{row['delta']['high']:.3f}); {row['wall_seconds']:.0f} s")  # fmt: skip
    print(f"whole demo {seconds:.0f} s; GEMM before and after {result['gemm_gflops']}")
    write_result("demo", result)


def job(document: dict[str, Any]) -> dict[str, Any]:
    """What the table needs of a run document."""
    metric = document["metric"]
    return {"name": document["name"], "verdict": document["verdict"], "reasons": document["reasons"], "metric": metric,
            "tuned": document["tuned"][metric], "best_baseline": document["best_baseline"],
            "delta": document["delta"][metric], "fit_seconds": document["actual"]["seconds"],
            "forgetting": document["forgetting"], "wall_seconds": document["wall_seconds"],
            "timeline": document["timeline"]}  # fmt: skip


if __name__ == "__main__":
    main()
