"""The sections of docs/benchmarks.md about parts of the engine."""

from __future__ import annotations

from typing import Any

from harness.markdown import gemms, part, table, times

GIGABYTE = 1e9


def attention(found: dict[str, Any]) -> str:
    """Attention as matrix products, beside PyTorch's kernel."""
    rows = [
        [f"{row['tokens']:,}", f"{1e3 * row['seconds']['blocks']:.2f}", f"{1e3 * row['seconds']['kernel']:.2f}",
         times(row["ratio"]), row["chosen"]]
        for row in found["lengths"]
    ]  # fmt: skip
    off = max(max(row["distance"].values()) for row in found["lengths"])
    return part(
        "Attention on a CPU: one segment, forward and backward",
        "python bench/attention.py",
        table(["tokens", "by blocks of queries, ms", "PyTorch's kernel, ms", "blocks are", "taken"], rows),
        f"Causal, 9 heads that share 3 of keys, width 64, float32, one thread; medians of {found['turns']} turns. "
        f"Outputs and gradients of both are within {off:.1e} of attention written out in float64. GEMM (both cores) "
        f"{gemms(found['gemm_gflops'])}.",
    )


def forecasts(found: dict[str, Any]) -> str:
    """What jobs were said to take after their probe, and what they took."""
    rows = [
        [name, *_pair(case, "seconds", "s", 1.0), *_pair(case, "job_seconds", "s", 1.0),
         *_pair(case, "peak_memory_bytes", "GB", GIGABYTE)]
        for name, case in found.items()
    ]  # fmt: skip
    gemm = [value for case in found.values() for value in case["gemm_gflops"]]
    return part(
        "Forecasts after the probe",
        "python bench/forecast.py --data DIR",
        table(["job", "fit", "said", "whole job", "said", "peak", "said"], rows),
        f"Jobs cut to a few steps. GEMM {min(gemm):.0f} to {max(gemm):.0f} GFLOP/s.",
    )


def _pair(case: dict[str, Any], key: str, unit: str, size: float) -> tuple[str, str]:
    """What it took, and how much more or less was said."""
    took, said = case["actual"][key], case["forecast_after_probe"][key]
    if not took or not said:
        return "", ""
    return f"{took / size:.2f} {unit}" if unit == "GB" else f"{took:.0f} {unit}", f"{100 * (said / took - 1):+.0f} %"
