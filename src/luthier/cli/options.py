"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe in YAML.", show_default=False)]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the recipe, such as train.learning_rate=1e-4. May be repeated.",
        default_factory=list,
        show_default=False,
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start again, even where an unfinished run could be resumed.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; logs go to stderr.")]
RunRef = Annotated[
    str, typer.Argument(metavar="RUN", help="A run id, the start of one, or `latest`.", show_default=False)
]
