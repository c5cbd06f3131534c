"""Versions of models, and results of jobs, without a run that made them."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import insert

from luthier.registry import versions
from luthier.store import Home, datasets, runs
from luthier.store.clock import now
from luthier.store.tables import job


def register(home: Home, folder: Path, name: str = "tickets") -> str:
    folder.mkdir(exist_ok=True)
    run = runs.create(home, name=name, recipe={}, recipe_sha256="ab", command="luthier run r.yaml")
    (folder / "adapter_config.json").write_text(f'{{"run": "{run.id}"}}')
    datasets.add(home, f"ds-{run.id}", {"parents": []}, "00")
    return versions.register(
        home, name=name, run_id=run.id, base={"name": "tiny-llama"}, adapter_folder=folder, recipe_sha256="ab",
        dataset_version=f"ds-{run.id}", scores={}, card="", lineage={},
    ).ref  # fmt: skip


def tuned(home: Home, model: str, version: str) -> None:
    row = {
        "id": f"ftjob-{model}",
        "kind": "fine_tune",
        "status": "succeeded",
        "request": {},
        "result": {},
        "model": model,
    }
    with home.write() as connection:
        connection.execute(insert(job).values({**row, "version": version, "created_at": now(), "updated_at": now()}))
