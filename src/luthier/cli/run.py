from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.cli.options import AsJson, Fresh, Overrides, RecipePath
from luthier.cli.screen import emit


def run(recipe: RecipePath, overrides: Overrides, fresh: Fresh = False, as_json: AsJson = False) -> None:
    """Fit, compare with every baseline, decide, write the report.

    The same command on an unfinished run resumes it; on a finished one it starts another.
    """
    from luthier.cli.progress import reporter
    from luthier.jobs.run import run as carry_out
    from luthier.store import Home

    with reporter(as_json) as progress:
        document = carry_out(recipe, overrides, Home.open(), progress, fresh=fresh)
    if document:
        emit(document, as_json, show)


def show(document: Mapping[str, Any]) -> None:
    from rich.console import Console

    from luthier.evaluate.report.terminal import terminal_summary

    Console(highlight=False).print(terminal_summary(document), crop=False)
