from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from luthier.cli.group import group
from luthier.cli.options import AsJson
from luthier.cli.screen import emit, facts, table, when

Name = Annotated[str, typer.Argument(metavar="NAME", help="Who or what uses it.", show_default=False)]
Which = Annotated[str, typer.Argument(metavar="KEY", help="The id or the name of a key.", show_default=False)]


def create(name: Name, as_json: AsJson = False) -> None:
    """Make a key; it is shown this once, and not kept."""
    from luthier.store import Home, keys

    key, secret = keys.create(Home.open(), name)
    emit(asdict(key) | {"key": secret}, as_json, show_new)


def show_new(document: Mapping[str, Any]) -> None:
    facts([("id", document["id"]), ("name", document["name"]), ("key", document["key"])])
    print("\nIt is not shown again. From now on, servers of this home demand a key.")


def show_all(as_json: AsJson = False) -> None:
    """List the keys, without their secrets."""
    from luthier.store import Home, keys

    emit({"keys": [asdict(key) for key in keys.list_keys(Home.open())]}, as_json, show_list)


def show_list(document: Mapping[str, Any]) -> None:
    if not document["keys"]:
        print("no keys: servers of this home answer this machine alone")
        return
    rows = [
        (key["id"], key["name"], when(key["created_at"]), when(key["revoked_at"] or "")) for key in document["keys"]
    ]
    table(["id", "name", "made (UTC)", "revoked (UTC)"], rows)


def revoke(key: Which, as_json: AsJson = False) -> None:
    """Let a key open nothing any more, at once."""
    from luthier.store import Home, keys

    emit(asdict(keys.revoke(Home.open(), key)), as_json, lambda row: print(f"{row['id']} ({row['name']}) is revoked"))


app = group("Who may ask the servers of this home.", create=create, list=show_all, revoke=revoke)
