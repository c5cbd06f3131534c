from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.cli.options import AsJson
from luthier.cli.screen import bullets, emit, facts, table


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="name@version, name@alias or a base model.", show_default=False)
    ],
    format: Annotated[
        list[str],
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="safetensors, adapter, gguf-adapter, gguf-f16, gguf-q8_0, gguf-q4_1 or ollama. May be repeated.",
            default_factory=lambda: ["gguf-q8_0"],
            show_default="gguf-q8_0",
        ),
    ],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Where to write; by default in the home.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FILE", help="Rows with answers; by default those it was tested on."),
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", min=0, help="How much worse an export may be, in the metric's unit.")
    ] = 0.02,
    as_json: AsJson = False,
) -> None:
    """Write a model for other tools, and compare each with it."""
    from luthier.cli.progress import reporter
    from luthier.jobs.export import export as write
    from luthier.store import Home

    with reporter(as_json) as progress:
        document = write(model, format, Home.open(), progress, to=to, data=data, margin=margin)
    emit(document, as_json, show)


def show(document: Mapping[str, Any]) -> None:
    from luthier.evaluate.report.numbers import duration

    facts([("model", document["model"]), ("base", document["base"]), ("time", duration(document["seconds"]))])
    print()
    rows = [_row(one) for one in document["exports"]]
    table(["format", "MB", "tokens/s", "score", "difference", "verdict", "folder"], rows, right=["MB", "tokens/s"])
    print()
    served = [_served(document["served"])] if document["served"] else []
    reasons = [f"{one['format']}: {one['reason']}" for one in document["exports"] if "reason" in one]
    bullets([*reasons, *served, *document["notes"]])


def _served(found: Mapping[str, Any]) -> str:
    from luthier.evaluate.report.numbers import share

    agreed = f"{share(found['share'])} [{share(found['low'])}, {share(found['high'])}] of {found['places']} tokens"
    known = f"llama.cpp, with weights in {found['held']}, has the model's own next token first at {agreed}"
    return f"{known}; {share(found['tolerance'], 0)} are asked for: `luthier up` serves it with {found['engine']}."


def _row(one: Mapping[str, Any]) -> list[str]:
    from luthier.registry.numbers import change, interval, with_interval

    size = f"{one['bytes'] / 1e6:,.1f}"
    if "metric" not in one:
        return [one["format"], size, "–", "–", "–", "–", one["path"]]
    metric = one["metric"]
    difference = f"{change(one['delta']['value'], metric)} [{interval(one['delta'], metric)}]"
    score = with_interval(one["scores"][metric], metric)
    return [one["format"], size, f"{one['tokens_per_second']:.0f}", score, difference, one["verdict"], one["path"]]
