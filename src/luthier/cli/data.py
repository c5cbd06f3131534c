from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.group import group
from luthier.cli.options import AsJson
from luthier.cli.screen import bullets, emit, facts, heading, table
from luthier.errors import DataError

if TYPE_CHECKING:
    from luthier.data.example import Example
    from luthier.recipe.types import DataEntry

DataPath = Annotated[str, typer.Argument(metavar="DATA", help="A data file or folder.", show_default=False)]
TypeOption = Annotated[str, typer.Option("--type", help="The format of the rows; auto detects it.")]
Rows = Annotated[int, typer.Option("--rows", min=0, help="How many examples to show.")]


def inspect(path: DataPath, type: TypeOption = "auto", rows: Rows = 3, as_json: AsJson = False) -> None:
    """Show how a data file is read, what is in it, some examples."""
    from luthier.data.sources import read

    source = read(entry(path, type), Path.cwd())
    document = {
        "path": str(source.path),
        "type": source.detected,
        "why": source.why,
        "columns": dict(source.columns),
        "rows": source.rows,
        "duplicates": source.rows - len({example.content_id for example in source.examples}),
        "labels": label_counts(source.examples),
        "examples": [example.to_dict() for example in source.examples[:rows]],
        "notes": list(source.notes),
        "sha256": source.sha256,
    }
    emit(document, as_json, show_source)


def entry(path: str, type: str) -> DataEntry:
    from luthier.recipe.load import from_mapping

    given = {"base_model": "any", "data": {"path": path, "type": type}}
    return from_mapping(given, "command line").data[0]


def label_counts(examples: list[Example]) -> dict[str, int]:
    counts = Counter(label for e in examples for label in e.labels or ((e.label,) if e.label is not None else ()))
    return dict(counts.most_common())


def show_source(document: Mapping[str, Any]) -> None:
    from luthier.evaluate.report.numbers import count

    columns = ", ".join(f"{role} from {column}" for role, column in document["columns"].items())
    facts(
        [
            ("file", document["path"]),
            ("type", f"{document['type']}: {document['why']}"),
            ("columns", columns or None),
            ("rows", f"{count(document['rows'])}, {count(document['duplicates'])} of them repeated"),
        ]
    )
    if document["labels"]:
        heading(f"Labels ({len(document['labels'])})")
        table(["label", "rows"], list(document["labels"].items())[:20], right=["rows"])
    bullets(document["notes"])
    show_examples(document["examples"])


def show_examples(examples: list[dict[str, Any]]) -> None:
    for example in examples:
        heading(example["row_id"])
        for message in example.get("messages", ()):
            print(f"  {message['role']}: {message.get('content') or message.get('tool_calls')}")
        facts((f"  {name}", example[name]) for name in SHOWN if name in example)


SHOWN = ("text", "prompt", "completion", "chosen", "rejected", "label", "labels", "group", "weight")


def convert(
    path: DataPath,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.", show_default=False)],
    to: Annotated[str, typer.Option("--to", help="The format to write.")] = "chat",
    type: TypeOption = "auto",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a data file's rows in another format."""
    from luthier.data.convert import convert as rewrite

    if output.exists() and not force:
        raise DataError("there is a file already", str(output), "Name another, or use --force")
    source = rewrite(entry(path, type), Path.cwd(), output, to)
    document = {"path": str(output), "from": source.detected, "to": to, "rows": source.rows}
    emit(document, as_json, lambda _: print(f"{source.rows} rows, {source.detected} to {to}: {output}"))


def versions(as_json: AsJson = False) -> None:
    """List the dataset versions of this home, newest first."""
    from luthier.store import Home, datasets

    rows = [{"version": r.id, "created_at": r.created_at, **r.manifest} for r in datasets.list(Home.open())]
    emit({"versions": rows}, as_json, show_versions)


def show_versions(document: Mapping[str, Any]) -> None:
    if not document["versions"]:
        print("no dataset versions yet; a run writes one: luthier run RECIPE")
        return
    rows = [
        (v["version"], ", ".join(f"{name} {n}" for name, n in v["splits"].items()), v["created_at"][:16])
        for v in document["versions"]
    ]
    table(["version", "rows", "written (UTC)"], rows)


def show_version(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A version id, or the start of one.", show_default=False)
    ],
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "train",
    rows: Rows = 3,
    as_json: AsJson = False,
) -> None:
    """Show a dataset version: its steps, what was dropped, examples."""
    from luthier.data import version as dataset
    from luthier.store import Home, datasets

    home = Home.open()
    row = datasets.get(home, version)
    examples = dataset.read(home, row.id, split)[:rows]
    document = {
        "version": row.id,
        "created_at": row.created_at,
        **row.manifest,
        "examples": [example.to_dict() for example in examples],
    }
    emit(document, as_json, show_manifest)


def show_manifest(document: Mapping[str, Any]) -> None:
    from luthier.cli.check import show_steps

    facts(
        [
            ("version", document["version"]),
            ("written", document["created_at"][:16]),
            ("rows", ", ".join(f"{name} {n}" for name, n in document["splits"].items())),
            ("dropped", document["rejects"]),
            ("parents", ", ".join(document["parents"]) or None),
            *(("source", f"{source['path']}: {source['type']}") for source in document["sources"]),
        ]
    )
    bullets(document["notes"])
    show_steps(document["steps"])
    show_examples(document["examples"])


app = group("What is trained on.", inspect=inspect, convert=convert, versions=versions, show=show_version)
