"""What several processes do to one home at the same time; run by test_processes.py and test_postgres.py."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from luthier.store import Home, datasets, models, runs

ROUNDS = 15


def together(work: Callable[..., Any], homes: list[Home]) -> list[Any]:
    """The results of `work(number, root, database_url)` in one new process per home, all at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["luthier.store.models", "luthier.store.runs", "alembic.command"])
    with ProcessPoolExecutor(len(homes), mp_context=context) as pool:
        started = [pool.submit(work, n, home.root, home.database_url) for n, home in enumerate(homes)]
        return [future.result(timeout=60) for future in started]


def open_fresh(number: int, root: Path, url: str) -> str:
    return runs.create(Home(root, url), name=f"run-{number}", recipe={}, recipe_sha256="", command="").id


def prepare(home: Home) -> runs.RunRow:
    datasets.add(home, "ds-1", {}, "tree")
    return runs.create(home, name="shared", recipe={}, recipe_sha256="", command="")


def hammer(number: int, root: Path, url: str) -> list[str]:
    """What collides: the same metric rows, new runs, version numbers of one name, moves of one alias."""
    home = Home(root, url)
    shared = runs.get(home, runs.list(home, limit=1000)[-1].id).id
    refs = []
    for turn in range(ROUNDS):
        runs.log_metrics(home, shared, turn, {"loss": number, f"own-{number}": turn})
        runs.event(home, shared, "turn", f"{number} {turn}")
        run = runs.create(home, name=f"p{number}", recipe={}, recipe_sha256="", command="")
        runs.set_status(home, run.id, "running")
        version = models.add(home, models.NewVersion("tickets", run.id, {}, "", "", "ds-1", {}, "", {}))
        models.move(home, "tickets", "production", _next, kind="promote", reason="")
        refs.append(version.ref)
    return refs


def _next(moves: Any) -> int:
    return (moves[-1].version if moves else 0) + 1


def check(home: Home, processes: int, refs: list[list[str]]) -> None:
    """Nothing was lost, doubled or mixed up."""
    number = processes * ROUNDS
    shared = runs.list(home, limit=1000)[-1].id
    assert len(runs.list(home, limit=1000)) == number + 1
    assert len(runs.events(home, shared)) == number
    assert len(runs.metrics(home, shared)) == ROUNDS * (processes + 1)
    assert {ref for part in refs for ref in part} == {f"tickets@{n}" for n in range(1, number + 1)}
    assert [version.version for version in models.versions(home, "tickets")] == [*range(number, 0, -1)]
    assert [move.version for move in models.moves(home, alias="production")] == [*range(1, number + 1)]
