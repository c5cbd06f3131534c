"""The machine: what it offers a run, and how a report names it."""

from __future__ import annotations

import os
import platform
import shutil
import time
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from luthier.engine.place import launched
from luthier.recipe import MachineFacts

PROBE_SIZE = 1024
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""Of a CPU that multiplies numbers of bfloat16: Intel's and AMD's, and ARM's."""
BFLOAT16_CAPABILITY = (8, 0)
"""Of a GPU."""
PACKAGES = ("torch", "transformers", "peft", "luthier")


def machine_facts() -> MachineFacts:
    """Cores, free memory, device, and the speed of a matrix product, measured now. Loads no torch without a GPU."""
    import psutil

    if has_nvidia_driver():
        return _cuda_facts() or _cpu_facts(psutil.virtual_memory().available)
    return _cpu_facts(psutil.virtual_memory().available)


def free_disk(root: Path) -> int:
    """Free bytes where a folder lies, or will lie."""
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    return shutil.disk_usage(there).free


def gemm_gflops(size: int = PROBE_SIZE, times: int = 3) -> float:
    """GFLOP/s of an fp32 product of square matrices: the best of a few."""
    import numpy as np

    a = np.random.default_rng(0).random((size, size), dtype=np.float32)
    a @ a
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def environment(facts: MachineFacts) -> dict[str, Any]:
    """Versions and hardware, for reports."""
    return {
        "python": platform.python_version(), **{name: _version(name) for name in PACKAGES},
        "platform": platform.platform(), "cpu": _cpu_name(), "cores": facts.cores, "memory_bytes": _total_memory(),
        "device": facts.device, "gemm_gflops": round(facts.gemm_gflops, 1),
    }  # fmt: skip


def _cpu_facts(free: int) -> MachineFacts:
    return MachineFacts(
        len(os.sched_getaffinity(0)), free, "cpu", gemm_gflops(), processes=launched(),
        bfloat16=bool(_cpu_flags() & BFLOAT16_FLAGS),
    )  # fmt: skip


def has_nvidia_driver() -> bool:
    """Whether there may be a CUDA device; known without torch."""
    return Path("/proc/driver/nvidia/version").exists()


def _cuda_facts() -> MachineFacts | None:
    import torch

    if not torch.cuda.is_available():
        return None
    bfloat16 = torch.cuda.get_device_capability() >= BFLOAT16_CAPABILITY
    free, gpus = torch.cuda.mem_get_info()[0], torch.cuda.device_count()
    return MachineFacts(
        len(os.sched_getaffinity(0)), free, "cuda", _gpu_gflops(torch.float32), gpus=gpus, processes=launched(),
        bfloat16=bfloat16, half_gflops=_gpu_gflops(torch.bfloat16 if bfloat16 else torch.float16),
    )  # fmt: skip


def _gpu_gflops(dtype: Any, size: int = 4096, times: int = 10) -> float:
    import torch

    a = torch.rand(size, size, device="cuda", dtype=dtype)
    a @ a
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(times):
        a @ a
    torch.cuda.synchronize()
    return times * 2 * size**3 / (time.perf_counter() - start) / 1e9


def _cpu_flags() -> set[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return set(next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "").split())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


@lru_cache(maxsize=1)
def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    found = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return found or platform.processor() or platform.machine()


def _total_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)
