from __future__ import annotations

from typing import Annotated

import typer

from luthier.cli.options import AsJson
from luthier.cli.screen import emit


def demo(
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Show the reports in a browser.")] = True,
    as_json: AsJson = False,
) -> None:
    """Tune two small models on example tickets and open the reports."""
    from luthier.cli.progress import reporter
    from luthier.cli.run import show
    from luthier.jobs.demo import demo as perform
    from luthier.store import Home

    with reporter(as_json) as progress:
        document = perform(Home.open(), progress, open_browser)
    emit(document, as_json, show)
