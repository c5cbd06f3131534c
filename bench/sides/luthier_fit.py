"""Luthier's fit of a recipe: what `luthier train` does in its working process, with the forecast's own settings.

A short recipe warms up, then all steps of the timed one count. Reads a JSON job on stdin.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luthier.engine.allocator import keep_pages

keep_pages()

import torch  # noqa: E402
from harness.machine import peak_memory  # noqa: E402
from harness.rows import digest  # noqa: E402

from luthier.data import version  # noqa: E402
from luthier.jobs.fit import fit  # noqa: E402
from luthier.jobs.prepare import data_part, get_ready  # noqa: E402
from luthier.jobs.reporting import Silent, Stages  # noqa: E402
from luthier.jobs.run import outputs, task_of  # noqa: E402
from luthier.jobs.work import open_work  # noqa: E402
from luthier.jobs.workbench import Work  # noqa: E402
from luthier.jobs.workspace import RunPlan, write_plan  # noqa: E402
from luthier.store import Home, runs  # noqa: E402

BEFORE = ("reference", "features", "first head")
"""What the names of the stages begin with that an objective needs before its first step."""


def main() -> None:
    job = json.load(sys.stdin)
    home = Home.open(Path(job["home"]))
    fit(opened(job["warm"], home), lambda: None)
    gc.collect()
    work = opened(job["recipe"], home)
    done = fit(work, lambda: None)
    before = sum(stage["seconds"] for stage in work.stages.timeline if stage["stage"].startswith(BEFORE))
    counted = before if work.recipe.objective.type == "dpo" or work.recipe.adapter.type == "head" else 0.0
    print(json.dumps({
        "seconds": done["seconds"] + counted, "before_seconds": before, "digest": digest(rows(work)),
        "peak_memory_bytes": peak_memory(), "steps": done["steps"], "lanes": work.plan.forecast["lanes"],
        "micro_batch_tokens": work.plan.forecast["micro_batch_tokens"],
    }))  # fmt: skip


def opened(recipe: str, home: Home) -> Work:
    """A new run of a recipe, as far as `luthier train` takes it before the fit."""
    ready = get_ready(Path(recipe), (), home, lambda text: None)
    data = version.write(home, ready.data, ready.recipe)
    plain = ready.recipe.to_plain()
    row = runs.create(home, name=str(ready.recipe.name), recipe=plain, recipe_sha256="", command="")
    plan = RunPlan(
        row.id, plain, ready.source.to_plain(), [], data.id, "", outputs(ready), ready.data.multi_label,
        task_of(ready.recipe), data_part(ready, data.id), asdict(ready.forecast), {}, "", only_fit=True,
    )  # fmt: skip
    write_plan(runs.run_folder(home, row.id), plan)
    work = open_work(home, row.id, Stages(Silent()))
    torch.set_num_threads(int(work.recipe.machine.threads))
    return work


def rows(work: Work) -> Iterator[tuple[Any, Any]]:
    """Token ids of the training rows, and which count."""
    own = work.rendered["train"]
    for place in range(len(own)):
        ids, weights = own.row(place)
        yield ids, weights > 0


if __name__ == "__main__":
    main()
