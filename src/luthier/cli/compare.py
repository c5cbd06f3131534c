from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from luthier.cli.evaluate import interval, number
from luthier.cli.options import AsJson
from luthier.cli.screen import emit, facts, table


def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help="The run to compare with.", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="RUN", help="The run in question.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Compare the tuned models of two runs, paired row by row."""
    from luthier.jobs.compare import compare as pair
    from luthier.store import Home

    emit(pair(Home.open(), first, second), as_json, show)


def show(document: Mapping[str, Any]) -> None:
    from luthier.evaluate.report.numbers import p_value

    facts([("a", document["a"]), ("b", document["b"])])
    print()
    rows = [
        (
            metric,
            number(entry["a"]["value"]),
            number(entry["b"]["value"]),
            number(entry["delta"]["value"], signed=True),
            interval(entry["delta"], signed=True),
            p_value(entry["delta"]["p"]),
            entry["delta"]["n"],
        )
        for metric, entry in document["metrics"].items()
    ]
    columns = ["metric", "a", "b", "b better by", "interval", "p", "n"]
    table(columns, rows, right=["a", "b", "b better by", "n"])
