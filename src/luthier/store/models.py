"""Rows of the registry: versions of named models, and the moves of their aliases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from sqlalchemy import Connection, Select, func, insert, select

from luthier.store.clock import now
from luthier.store.database import upsert
from luthier.store.home import Home
from luthier.store.tables import alias_move, model, model_version

Kind = Literal["promote", "rollback"]


@dataclass(frozen=True)
class NewVersion:
    """What is known of a version before it has a number. `adapter_sha256` is the hash of a tree of files."""

    name: str
    run_id: str
    base: dict[str, Any]
    adapter_sha256: str
    recipe_sha256: str
    dataset_version: str
    scores: dict[str, Any]
    card: str
    lineage: dict[str, Any]


@dataclass(frozen=True)
class ModelVersion:
    """A registered model: `name@version`, from exactly one run."""

    name: str
    version: int
    run_id: str
    created_at: str
    base: dict[str, Any]
    adapter_sha256: str
    recipe_sha256: str
    dataset_version: str
    scores: dict[str, Any]
    card: str
    lineage: dict[str, Any]

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Move:
    """One step in the history of `name@alias`: it came to point at `version`."""

    name: str
    alias: str
    version: int
    kind: Kind
    reason: str
    at: str


def add(home: Home, new: NewVersion) -> ModelVersion:
    """Give the version the next number of its name; if its run has a version already, return that one."""
    with home.write() as connection:
        _alone_with(connection, new.name)
        highest = select(func.max(model_version.c.version)).where(model_version.c.name == new.name)
        number = (connection.execute(highest).scalar() or 0) + 1
        row = {**asdict(new), "version": number, "created_at": now()}
        upsert(connection, model_version, [row], keys=["run_id"], replace=False)
        return ModelVersion(*connection.execute(_versions().where(model_version.c.run_id == new.run_id)).one())


def of_run(home: Home, run_id: str) -> ModelVersion | None:
    return _first(home, _versions().where(model_version.c.run_id == run_id))


def get(home: Home, name: str, version: int | None = None) -> ModelVersion | None:
    """One version of a name, by default the newest."""
    query = _versions().where(model_version.c.name == name)
    return _first(home, query if version is None else query.where(model_version.c.version == version))


def versions(home: Home, name: str | None = None) -> list[ModelVersion]:
    """Of one name or of all, by name, newest first."""
    query = _versions() if name is None else _versions().where(model_version.c.name == name)
    with home.read() as connection:
        return [ModelVersion(*row) for row in connection.execute(query)]


def moves(home: Home, *, alias: str | None = None, name: str | None = None) -> list[Move]:
    """The history of aliases, oldest first: of one alias, of one name, of both, or all."""
    with home.read() as connection:
        return _moves(connection, alias, name)


def move(
    home: Home, name: str, alias: str, choose: Callable[[Sequence[Move]], int], *, kind: Kind, reason: str
) -> Move:
    """Let `name@alias` point at the version that `choose` names, given the history of that alias.

    No other process moves an alias of the name meanwhile; an error raised by `choose` leaves all as it is.
    """
    with home.write() as connection:
        _alone_with(connection, name)
        version = choose(_moves(connection, alias, name))
        step = Move(name, alias, version, kind, reason, now())
        connection.execute(insert(alias_move).values(asdict(step)))
    return step


def _alone_with(connection: Connection, name: str) -> None:
    upsert(connection, model, [{"name": name}], keys=["name"], replace=False)
    connection.execute(select(model.c.name).where(model.c.name == name).with_for_update())


def _moves(connection: Connection, alias: str | None, name: str | None) -> list[Move]:
    query = select(*(alias_move.c[field.name] for field in fields(Move))).order_by(alias_move.c.id)
    if alias is not None:
        query = query.where(alias_move.c.alias == alias)
    if name is not None:
        query = query.where(alias_move.c.name == name)
    return [Move(*row) for row in connection.execute(query)]


def _versions() -> Select[Any]:
    columns = [model_version.c[field.name] for field in fields(ModelVersion)]
    return select(*columns).order_by(model_version.c.name, model_version.c.version.desc())


def _first(home: Home, query: Select[Any]) -> ModelVersion | None:
    with home.read() as connection:
        row = connection.execute(query.limit(1)).first()
    return None if row is None else ModelVersion(*row)
