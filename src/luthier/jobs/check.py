"""`luthier check`: everything short of training, as a document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luthier.jobs.prepare import Ready, data_part, get_ready
from luthier.store import Home

SMALL_TEST = 100
"""Test rows under which only large differences can be shown."""


def check(
    recipe_path: Path | str,
    overrides: Sequence[str] = (),
    home: Home | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """What a run of the recipe would do and take. Raises what `run` would raise before it starts."""
    ready = get_ready(Path(recipe_path), overrides, home or Home.open(), note)
    part = data_part(ready, None)
    return {
        "rows": sum(part["splits"].values()), "splits": part["splits"], "steps": part["steps"],
        "sources": part["sources"],
        "notes": part["notes"], "coverage": part["coverage"], "resolved": [asdict(r) for r in ready.resolved.reasons],
        "forecast": asdict(ready.forecast), "licences": licences(ready), "warnings": warnings(ready, part),
        "findings": findings(ready),
    }  # fmt: skip


def licences(ready: Ready) -> dict[str, str | None]:
    """The licence of the base and of each data entry."""
    found = {ready.files.name: ready.files.licence}
    return found | {entry.path: entry.licence for entry in ready.recipe.data}


def warnings(ready: Ready, part: dict[str, Any]) -> list[str]:
    """What will probably spoil the run or the verdict."""
    told = [f"no licence is stated for {name}" for name, licence in licences(ready).items() if licence is None]
    tests = part["splits"].get("test", 0)
    if tests < SMALL_TEST:
        told.append(f"the test split has {tests} rows; under {SMALL_TEST}, only large differences can be shown")
    cut, empty = part["coverage"]["truncated"], part["coverage"]["zero_coverage"]
    if cut:
        told.append(f"{cut} rows are longer than train.sequence_len and will be cut")
    if empty:
        told.append(f"{len(empty)} rows have no token to learn and are left out: {', '.join(empty[:3])}")
    if ready.files.quantised:
        told.append(
            f"the base's weights come from a {ready.files.quantised} file: its quality is that of the quantised model"
        )
    return told


def findings(ready: Ready) -> list[str]:
    """Rows that were dropped, each with its reason."""
    return [f"{reject.example.row_id}: {reject.reason} ({reject.step})" for reject in ready.data.rejects]
