"""Model versions: one per run, numbered per name, each with everything it came from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from luthier.errors import NotFound, StoreError
from luthier.store import Home, datasets, models, runs
from luthier.store.models import ModelVersion, Move

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def register(
    home: Home,
    *,
    name: str,
    run_id: str,
    base: dict[str, Any],
    adapter_folder: Path,
    recipe_sha256: str,
    dataset_version: str,
    scores: dict[str, Any],
    card: str,
    lineage: dict[str, Any],
) -> ModelVersion:
    """Store the adapter and give it the next version number of `name`.

    A run has one version: if it has it already, that one is returned and nothing is stored. Raises NotFound
    if the run or the dataset version is not in this home, StoreError if `name` is not one or the folder is
    empty.
    """
    check_name(name)
    existing = models.of_run(home, run_id)
    if existing:
        return existing
    run = runs.get(home, run_id)
    dataset = datasets.get(home, dataset_version)
    new = models.NewVersion(
        name,
        run.id,
        base,
        home.blobs.put_tree(adapter_folder),
        recipe_sha256,
        dataset.id,
        scores,
        card,
        lineage,
    )
    return models.add(home, new)


def check_name(name: str, kind: str = "a model name") -> None:
    """Raises StoreError unless the name can stand in a reference such as `tickets@production`."""
    if not NAME.fullmatch(name):
        mend = "Use at most 100 letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
        raise StoreError(f"{name!r} cannot be {kind}", mend=mend)


def get(home: Home, ref: str) -> ModelVersion:
    """`name@3`, `name@alias`, `name` (its newest version), or `alias` where one model alone has that alias.

    A word that is both a model's name and an alias means the name. Raises NotFound.
    """
    name, at, which = ref.partition("@")
    if not at:
        found = models.get(home, name) or _by_alias(home, ref)
    elif which.isascii() and which.isdigit():
        found = models.get(home, name, int(which))
    else:
        found = _by_alias(home, ref)
    if found is None:
        known = ", ".join(version.ref for version in models.versions(home)[:5])
        mend = f"There are {known}; `luthier models list` shows all" if known else "No model is registered in this home"
        raise NotFound(f"no model version is called {ref!r}", str(home.root), mend)
    return found


def _by_alias(home: Home, alias: str) -> ModelVersion | None:
    move = last_move(home, alias)
    return None if move is None else models.get(home, move.name, move.version)


def last_move(home: Home, alias: str) -> Move | None:
    """Where `tickets@production`, or `production` if one model alone has it, points; None if it is not there.

    Raises NotFound if several models have it.
    """
    name, at, word = alias.rpartition("@")
    last = {move.name: move for move in models.moves(home, alias=word, name=name if at else None)}
    if len(last) > 1:
        several = ", ".join(f"{owner}@{word}" for owner in sorted(last))
        raise NotFound(f"several models have the alias {word!r}", str(home.root), f"Write one of {several}")
    return next(iter(last.values()), None)


def list_versions(home: Home, name: str | None = None) -> list[ModelVersion]:
    """Of one model or of all, by name, newest first."""
    return models.versions(home, name)


def lineage(home: Home, ref: str) -> dict[str, Any]:
    """Where a version came from: its adapter, run, dataset version with all its parents, and base model.

    `recorded` holds what the run itself wrote down. A parent that is not in this home has `missing: True`.
    """
    version = get(home, ref)
    run = runs.get(home, version.run_id)
    return {
        "model": version.ref,
        "created_at": version.created_at,
        "adapter": {"sha256": version.adapter_sha256},
        "run": {
            "id": run.id,
            "status": run.status,
            "created_at": run.created_at,
            "command": run.command,
            "recipe_sha256": version.recipe_sha256,
        },
        "dataset": _dataset(home, version.dataset_version),
        "base": version.base,
        "recorded": version.lineage,
    }


def _dataset(home: Home, version_id: str) -> dict[str, Any]:
    try:
        row = datasets.get(home, version_id)
    except NotFound:
        return {"id": version_id, "missing": True, "parents": []}
    parents = [_dataset(home, parent) for parent in row.manifest.get("parents", [])]
    return {"id": row.id, "created_at": row.created_at, "tree_sha256": row.tree_sha, "parents": parents}
