from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from luthier.cli.evaluate import difference
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
    from luthier.evaluate.report.measures import measure
    from luthier.evaluate.report.numbers import count, p_value

    facts([("a", document["a"]), ("b", document["b"])])
    print()
    if not document["metrics"]:
        print("no metric was measured in both")
        return
    rows = [
        (
            metric,
            measure(metric).show(entry["a"]["value"]),
            measure(metric).show(entry["b"]["value"]),
            difference(metric, entry["delta"]["value"]),
            measure(metric).change_interval(entry["delta"]),
            p_value(entry["delta"]["p"]),
            count(entry["delta"]["n"]),
        )
        for metric, entry in document["metrics"].items()
    ]
    columns = ["metric", "a", "b", "b better by", "interval", "p", "n"]
    table(columns, rows, right=["a", "b", "b better by", "n"])
