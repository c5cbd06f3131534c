from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from luthier.cli.group import group
from luthier.cli.options import AsJson
from luthier.cli.screen import emit, facts, heading, table, when
from luthier.errors import NotFound

ModelRef = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="name@3, name@alias, a name (its newest) or an alias.", show_default=False),
]
Reason = Annotated[str, typer.Option("--reason", help="Kept in the alias's history.", show_default=False)]


def show_all(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Only the versions of this model.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the registered versions and the aliases that point at them."""
    from luthier.registry import aliases, versions
    from luthier.store import Home

    home = Home.open()
    found = versions.list_versions(home, name)
    if name is not None and not found:
        known = ", ".join(dict.fromkeys(version.name for version in versions.list_versions(home))) or "none"
        raise NotFound(f"no model is called {name!r}", str(home.root), f"The models of this home: {known}")
    held = aliases.current(home, name)
    document = [
        {
            "model": version.ref,
            "aliases": [at.split("@")[1] for at, number in held.items() if (at.split("@")[0], number) == pair],
            "scores": version.scores,
            "run_id": version.run_id,
            "created_at": version.created_at,
        }
        for version in found
        for pair in [(version.name, version.version)]
    ]
    emit({"models": document}, as_json, show_list)


def show_list(document: Mapping[str, Any]) -> None:
    if not document["models"]:
        print("no models yet; a run registers one: luthier run RECIPE")
        return
    rows = [(entry["model"], ", ".join(entry["aliases"]), entry["run_id"]) for entry in document["models"]]
    table(["model", "alias", "run"], rows)


def show_one(model: ModelRef, as_json: AsJson = False) -> None:
    """Show a version's card."""
    from luthier.registry import versions
    from luthier.store import Home

    version = versions.get(Home.open(), model)
    emit(asdict(version) | {"model": version.ref}, as_json, lambda document: print(document["card"]))


def show_lineage(model: ModelRef, as_json: AsJson = False) -> None:
    """Show what a version was made from: run, datasets, base model."""
    from luthier.registry import aliases, versions
    from luthier.store import Home

    home = Home.open()
    version = versions.get(home, model)
    moves = [
        asdict(move) for move in aliases.history(home) if (move.name, move.version) == (version.name, version.version)
    ]
    emit(versions.lineage(home, version.ref) | {"aliases": moves}, as_json, show_origins)


def show_origins(document: Mapping[str, Any]) -> None:
    run, dataset = document["run"], document["dataset"]
    facts(
        [
            ("model", f"{document['model']}, registered {when(document['created_at'])} UTC"),
            ("adapter", document["adapter"]["sha256"]),
            ("run", f"{run['id']} ({run['status']})"),
            ("command", run["command"]),
            ("recipe", run["recipe_sha256"]),
            *(("data", line) for line in ancestry(dataset)),
            *((f"base {name}", value) for name, value in document["base"].items()),
        ]
    )
    told = {dataset["id"], *document["base"].values(), document["adapter"]["sha256"]}
    recorded = [(name, value) for name, value in document["recorded"].items() if value not in told]
    if recorded:
        heading("Recorded by the run")
        facts(recorded)
    if document["aliases"]:
        heading("Aliases that were pointed at it")
        moves = [(when(move["at"]), move["alias"], move["kind"], move["reason"]) for move in document["aliases"]]
        table(["when (UTC)", "alias", "by", "reason"], moves)


def ancestry(dataset: Mapping[str, Any], depth: int = 0) -> list[str]:
    """A dataset version and, indented under it, those it was made from."""
    line = "  " * depth + dataset["id"] + (" (not in this home)" if dataset.get("missing") else "")
    return [line, *(text for parent in dataset["parents"] for text in ancestry(parent, depth + 1))]


def promote(
    model: ModelRef,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="For example production.", show_default=False)],
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Let an alias point at a version."""
    from luthier.registry import aliases
    from luthier.store import Home

    home = Home.open()
    before = aliases.current(home)
    move = aliases.promote(home, model, alias, reason)
    emit(asdict(move) | {"before": before.get(f"{move.name}@{move.alias}")}, as_json, show_move)


def rollback(
    alias: Annotated[
        str,
        typer.Argument(metavar="ALIAS", help="name@alias, or an alias that one model has.", show_default=False),
    ],
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Let an alias point at the version before."""
    from luthier.registry import aliases
    from luthier.store import Home

    home = Home.open()
    before = aliases.current(home)
    move = aliases.rollback(home, alias, reason)
    emit(asdict(move) | {"before": before.get(f"{move.name}@{move.alias}")}, as_json, show_move)


def show_move(move: Mapping[str, Any]) -> None:
    before = f" (before: {move['name']}@{move['before']})" if move["before"] else ""
    print(f"{move['name']}@{move['alias']} now points at {move['name']}@{move['version']}{before}")


app = group(
    "What has been registered.",
    list=show_all,
    show=show_one,
    lineage=show_lineage,
    promote=promote,
    rollback=rollback,
)
