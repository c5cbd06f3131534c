"""`luthier check`: everything short of training, as a document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luthier.jobs.prepare import Ready, data_part, get_ready
from luthier.jobs.unsaved import probe_of
from luthier.jobs.warnings import licences, warnings
from luthier.store import Home


def check(
    recipe_path: Path | str,
    overrides: Sequence[str] = (),
    home: Home | None = None,
    note: Callable[[str], None] = lambda text: None,
    probe: bool = False,
) -> dict[str, Any]:
    """What a run of the recipe would do and take. Raises what `run` would raise before it starts.

    With `probe`, the model is loaded and some micro-batches are tried, as at the start of a fit; else `probe` of the
    document is None.
    """
    home = home or Home.open()
    ready = get_ready(Path(recipe_path), overrides, home, note)
    part = data_part(ready, None)
    return {
        "rows": sum(part["splits"].values()), "splits": part["splits"], "steps": part["steps"],
        "sources": part["sources"],
        "notes": part["notes"], "coverage": part["coverage"], "resolved": [asdict(r) for r in ready.resolved.reasons],
        "forecast": asdict(ready.forecast), "licences": licences(ready), "warnings": warnings(ready, part),
        "findings": findings(ready), "probe": probe_of(ready, home, note) if probe else None,
    }  # fmt: skip


def findings(ready: Ready) -> list[str]:
    """Rows that were dropped, each with its reason."""
    return [f"{reject.example.row_id}: {reject.reason} ({reject.step})" for reject in ready.data.rejects]
