"""`luthier train`: the fit alone, registered but neither evaluated nor judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.jobs.reporting import Reporter
from luthier.jobs.run import run
from luthier.store import Home


def train(
    recipe_path: Path | str,
    overrides: Sequence[str] = (),
    home: Home | None = None,
    reporter: Reporter | None = None,
    fresh: bool = False,
) -> dict[str, Any]:
    """As `run`, without evaluation, verdict and report; the version is registered, no alias is moved."""
    return run(recipe_path, overrides, home, reporter, fresh, only_fit=True)
