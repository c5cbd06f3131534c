from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.examples import show_examples, show_labels
from luthier.cli.group import group
from luthier.cli.options import AsJson
from luthier.cli.screen import bullets, emit, facts, table, when
from luthier.errors import DataError, RecipeError

if TYPE_CHECKING:
    from luthier.data.example import Example
    from luthier.recipe.types import DataEntry

DataPath = Annotated[str, typer.Argument(metavar="DATA", help="A data file or folder.", show_default=False)]
TypeOption = Annotated[str, typer.Option("--type", help="The format of the rows; auto detects it.")]
FieldOption = Annotated[
    list[str],
    typer.Option(
        "--field",
        metavar="ROLE=COLUMN",
        help="Which column plays a role, such as text=body. May be repeated.",
        default_factory=list,
        show_default=False,
    ),
]
Rows = Annotated[int, typer.Option("--rows", min=0, help="How many examples to show.")]


def inspect(
    path: DataPath, field: FieldOption, type: TypeOption = "auto", rows: Rows = 3, as_json: AsJson = False
) -> None:
    """Show how a data file is read, what is in it, some examples."""
    from luthier.data.sources import read

    source = read(entry(path, type, field), Path.cwd())
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


def entry(path: str, type: str, field: list[str]) -> DataEntry:
    """The data entry of a recipe that the options stand for."""
    from luthier.recipe.load import from_mapping

    pairs = [text.partition("=") for text in field]
    for role, equals, column in pairs:
        if not (role and equals and column):
            raise RecipeError("this names no column", f"--field {role}{equals}", "Write it as `--field text=body`")
    named = {f"field_{role.removeprefix('field_')}": column for role, _, column in pairs}
    given = {"base_model": "any", "data": {"path": path, "type": type, **named}}
    return from_mapping(given, "command line").data[0]


def label_counts(examples: list[Example]) -> dict[str, int]:
    counts = Counter(label for e in examples for label in e.labels or ((e.label,) if e.label is not None else ()))
    return dict(counts.most_common())


def show_source(document: Mapping[str, Any]) -> None:
    from luthier.evaluate.report.numbers import count

    facts([("file", document["path"])])
    facts(
        [
            ("type", f"{document['type']}: {document['why']}"),
            ("rows", f"{count(document['rows'])}, {count(document['duplicates'])} of them repeated"),
        ],
        wrap=True,
    )
    show_labels(document["labels"])
    bullets(document["notes"])
    show_examples(document["examples"])


def convert(
    path: DataPath,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.", show_default=False)],
    field: FieldOption,
    to: Annotated[str, typer.Option("--to", help="The format to write.")] = "chat",
    type: TypeOption = "auto",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a data file's rows in another format."""
    from luthier.data.convert import convert as rewrite
    from luthier.evaluate.report.numbers import count

    if output.is_dir():
        raise DataError("this is a folder", str(output), "Name the file to write")
    if output.exists() and not force:
        raise DataError("there is a file already", str(output), "Name another, or use --force")
    source = rewrite(entry(path, type, field), Path.cwd(), output, to)
    document = {"path": str(output), "from": source.detected, "to": to, "rows": source.rows}
    emit(document, as_json, lambda _: print(f"{count(source.rows)} rows, {source.detected} to {to}: {output}"))


def versions(as_json: AsJson = False) -> None:
    """List the dataset versions of this home, newest first."""
    from luthier.store import Home, datasets

    rows = [{"version": r.id, "created_at": r.created_at, **r.manifest} for r in datasets.list(Home.open())]
    emit({"versions": rows}, as_json, show_versions)


def show_versions(document: Mapping[str, Any]) -> None:
    if not document["versions"]:
        print("no dataset versions yet; a run writes one: luthier run RECIPE")
        return
    rows = [(v["version"], sizes(v["splits"]), when(v["created_at"])) for v in document["versions"]]
    table(["version", "rows", "written (UTC)"], rows)


def sizes(splits: Mapping[str, int]) -> str:
    from luthier.evaluate.report.numbers import count

    return ", ".join(f"{name} {count(rows)}" for name, rows in splits.items())


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
            ("written (UTC)", when(document["created_at"])),
            ("rows", sizes(document["splits"])),
            ("dropped", document["rejects"]),
            ("parents", ", ".join(document["parents"]) or None),
            *(("source", f"{source['path']}: {source['type']}") for source in document["sources"]),
        ]
    )
    bullets(document["notes"])
    show_steps(document["steps"])
    show_examples(document["examples"])


app = group("What is trained on.", inspect=inspect, convert=convert, versions=versions, show=show_version)
