from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.options import AsJson
from luthier.cli.screen import emit
from luthier.errors import RecipeError


def init(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A file with your examples.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the recipe goes.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing recipe.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at a data file and write a recipe that fits it."""
    from luthier.cli.progress import notes
    from luthier.jobs.propose import propose
    from luthier.store import Home
    from luthier.store.files import write_atomic

    if output.is_dir():
        raise RecipeError("this is a folder", str(output), "Name the recipe's file with --output")
    if output.exists() and not force:
        raise RecipeError("there is a file already", str(output), "Name another with --output, or use --force")
    path = data if output.parent == Path() else Path(os.path.abspath(data))  # paths start from the recipe's folder
    text = propose(path, Home.open(), notes(as_json))
    write_atomic(output, text)
    emit({"recipe": str(output), "text": text}, as_json, lambda _: print(f"{text}\nwritten to {output}"))
