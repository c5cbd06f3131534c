from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.cli.options import AsJson
from luthier.cli.screen import bullets, emit, facts, table


def evaluate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="name@version, name@alias, a folder or a base model.", show_default=False),
    ],
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A data file, or a recipe whose test split is used.", show_default=False),
    ],
    as_json: AsJson = False,
) -> None:
    """Measure a model on a data file or on a recipe's test split."""
    from luthier.cli.progress import reporter
    from luthier.jobs.evaluate import evaluate as measure
    from luthier.store import Home

    with reporter(as_json) as progress:
        document = measure(model, data, Home.open(), progress)
    emit(document, as_json, show)


def show(document: Mapping[str, Any]) -> None:
    from luthier.evaluate.report.measures import measure
    from luthier.evaluate.report.numbers import count, duration

    asked = [(name, document[name]) for name in ("model", "data")]
    facts([*asked, ("rows", count(document["rows"])), ("time", duration(document["seconds"]))])
    print()
    rows = [
        (name, measure(name).show(e["value"]), measure(name).interval(e), count(e["n"]))
        for name, e in document["scores"].items()
    ]
    table(["metric", "value", "interval", "n"], rows, right=["value", "n"])
    bullets(document["notes"])


def difference(metric: str, value: float | None) -> str:
    """`+2.0 points`, `−0.031`: a change of a metric, with its unit."""
    from luthier.evaluate.report.measures import measure

    kind = measure(metric)
    return kind.points(value) + (" points" if kind.unit == "share" else "")
