"""`luthier demo`: a first light in seconds, then the whole job on the same tickets."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.errors import NotFound
from luthier.jobs.reporting import Reporter
from luthier.jobs.run import run
from luthier.store import Home

TICKETS = Path(__file__).parents[3] / "examples" / "tickets"
FIRST, SECOND = "recipe_queue.yaml", "recipe.yaml"


def demo(home: Home, reporter: Reporter, open_browser: bool, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Sort tickets into queues with a frozen encoder, then have a language model write the whole triage.

    Returns the run document of the second job, with that of the first under `first_light`. Raises NotFound where
    the example data is not beside the package, as in an installation without the source tree.
    """
    if not TICKETS.exists():
        raise NotFound("the example tickets are not there", str(TICKETS), "Run the demo from a clone of the project")
    first = run(TICKETS / FIRST, overrides, home, reporter)
    _show(first, reporter, open_browser)
    second = run(TICKETS / SECOND, overrides, home, reporter)
    _show(second, reporter, open_browser)
    return {**second, "first_light": first}


def _show(document: dict[str, Any], reporter: Reporter, open_browser: bool) -> None:
    reporter.event("note", f"{document['verdict']}: {document['reasons'][0]}", {})
    reporter.event("note", f"report: {document['report']}", {})
    if open_browser:
        webbrowser.open(Path(document["report"]).as_uri())
