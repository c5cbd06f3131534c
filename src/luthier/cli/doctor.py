from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.cli.options import AsJson
from luthier.cli.screen import emit, facts, heading

PACKAGES = (
    "luthier",
    "torch",
    "transformers",
    "peft",
    "tokenizers",
    "numpy",
    "pydantic",
    "sqlalchemy",
    "pyarrow",
)
EXTRAS = {"s3": "s3fs", "postgres": "psycopg"}
GEMM_SIZE = 1024


def doctor(as_json: AsJson = False) -> None:
    """Show what is installed and how fast this machine is."""
    import os
    import platform

    import psutil

    from luthier.models.packaged import PACKAGED
    from luthier.store import Home

    document = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: installed(name) for name in PACKAGES},
        "extras": {extra: installed(package) for extra, package in EXTRAS.items()},
        "base_models": {name: installed(model.package) for name, model in PACKAGED.items()},
        "home": str(Home.open().root),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "free_memory_bytes": psutil.virtual_memory().available,
        **accelerator(),
        "gemm_gflops": gemm_gflops(),
    }
    emit(document, as_json, show)


def installed(package: str) -> str | None:
    """The version of an installed distribution, or None."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def accelerator() -> dict[str, Any]:
    import torch

    found = torch.cuda.is_available()
    return {"device": torch.cuda.get_device_name() if found else "cpu"}


def gemm_gflops(repeats: int = 5) -> float:
    """GFLOP/s of square fp32 products on the CPU, the best of some: 2 n³ operations each."""
    import time

    import torch

    a = torch.rand(GEMM_SIZE, GEMM_SIZE)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * GEMM_SIZE**3 / min(times) / 1e9


def show(document: Mapping[str, Any]) -> None:
    from luthier.evaluate.report.numbers import fixed, size

    facts(
        [
            ("platform", document["platform"]),
            ("python", document["python"]),
            ("home", document["home"]),
            ("device", document["device"]),
            ("cores", document["cores"]),
            ("memory", f"{size(document['memory_bytes'])}, {size(document['free_memory_bytes'])} free"),
            ("matrices", f"{fixed(document['gemm_gflops'], 0)} GFLOP/s in fp32"),
        ]
    )
    for title, group in (("Packages", "packages"), ("Extras", "extras"), ("Base models", "base_models")):
        heading(title)
        facts((name, version or "not installed") for name, version in document[group].items())
