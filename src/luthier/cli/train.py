from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.cli.options import AsJson, Fresh, Overrides, RecipePath
from luthier.cli.screen import emit, facts


def train(recipe: RecipePath, overrides: Overrides, fresh: Fresh = False, as_json: AsJson = False) -> None:
    """Only the fit: registered, but neither evaluated nor judged.

    The same command on an unfinished fit resumes it; on a finished one it starts another.
    """
    from luthier.cli.progress import reporter
    from luthier.jobs.train import train as fit
    from luthier.store import Home

    with reporter(as_json) as progress:
        document = fit(recipe, overrides, Home.open(), progress, fresh=fresh)
    if document:
        emit(document, as_json, show)


def show(document: Mapping[str, Any]) -> None:
    from luthier.evaluate.report.numbers import count, duration, size
    from luthier.evaluate.report.spending import misses

    facts(
        [
            ("run", document["run_id"]),
            ("model", document["model"]),
            ("adapter", document["adapter_path"]),
            ("best step", count(document["best_step"])),
            ("speed", f"{count(document['tokens_per_second'])} tokens/s"),
            ("memory", size(document["peak_memory_bytes"])),
            ("time", duration(document["wall_seconds"])),
            *(("forecast", f"off. {line}") for line in misses(document)),
        ]
    )
