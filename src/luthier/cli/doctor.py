from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.cli.options import AsJson
from luthier.cli.screen import emit, facts, heading

EXTRAS = {"s3": "s3fs", "postgres": "psycopg", "dp": "opacus", "quick": "fastokens"}


def doctor(as_json: AsJson = False) -> None:
    """Show what is installed and how fast this machine is."""
    from luthier.jobs.machine import environment, machine_facts
    from luthier.models.packaged import PACKAGED
    from luthier.store import Home

    facts = machine_facts()
    document = {
        **environment(facts),
        "free_memory_bytes": facts.memory_bytes,
        "home": str(Home.open().root),
        "extras": {extra: installed(package) for extra, package in EXTRAS.items()},
        "base_models": {name: installed(model.package) for name, model in PACKAGED.items()},
    }
    emit(document, as_json, show)


def installed(package: str) -> str | None:
    """The version of an installed distribution, or None."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def show(document: Mapping[str, Any]) -> None:
    from luthier.evaluate.report.numbers import fixed, size

    facts((name, document[name]) for name in ("luthier", "python", "torch", "transformers", "peft"))
    heading("Machine")
    facts(
        [
            ("platform", document["platform"]),
            ("cpu", document["cpu"]),
            ("cores", document["cores"]),
            ("device", document["device"]),
            ("memory", f"{size(document['memory_bytes'])}, {size(document['free_memory_bytes'])} free"),
            ("speed", f"{fixed(document['gemm_gflops'], 0)} GFLOP/s (fp32 matrix product)"),
            ("home", document["home"]),
        ]
    )
    for title, group in (("Extras", "extras"), ("Packaged models", "base_models")):
        heading(title)
        facts((name, version or "not installed") for name, version in document[group].items())
