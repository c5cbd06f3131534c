"""Aliases: names such as `production` that point at one version of a model, with the history of every move.

An alias belongs to a model: `tickets@production` and `intents@production` do not know of each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from luthier.errors import NotFound, StoreError
from luthier.registry.versions import check_name, get, last_move
from luthier.store import Home, models
from luthier.store.models import Move


def promote(home: Home, ref: str, alias: str, reason: str) -> Move:
    """Let `alias` of the model point at the version `ref`.

    Raises NotFound if there is no such version, StoreError if the alias is not a name, or is a number.
    """
    check_name(alias, "an alias")
    if alias.isdigit():
        raise StoreError(f"{alias!r} cannot be an alias: it would read as a version number", mend="Use a word")
    version = get(home, ref)
    return models.move(home, version.name, alias, lambda _: version.version, kind="promote", reason=reason)


def promote_once(home: Home, ref: str, alias: str, reason: str) -> Move:
    """As `promote`, unless the version was promoted to this alias before: a run that is taken up again after it did so
    neither repeats it nor undoes what people have done since. The move, now or then."""
    version = get(home, ref)
    for move in models.moves(home, alias=alias, name=version.name):
        if move.version == version.version and move.kind == "promote":
            return move
    return promote(home, ref, alias, reason)


def promote_over(home: Home, ref: str, alias: str, reason: str, before: int | None) -> bool:
    """As `promote_once`, where `alias` still points at the version `before` (None: at nothing).

    False where it was moved meanwhile: then nothing is done.
    """
    version = get(home, ref)

    def choose(moves: Sequence[Move]) -> int:
        if any(move.kind == "promote" and move.version == version.version for move in moves):
            raise _Made
        if (moves[-1].version if moves else None) != before:
            raise _Moved
        return version.version

    try:
        models.move(home, version.name, alias, choose, kind="promote", reason=reason)
    except _Made:
        return True
    except _Moved:
        return False
    return True


class _Made(Exception):
    """The move was made before."""


class _Moved(Exception):
    """The alias points elsewhere than it did."""


def rollback(home: Home, alias: str, reason: str = "") -> Move:
    """Let `tickets@production`, or `production` if one model alone has it, point at the version before.

    Going back twice goes back two promotions. The move is recorded like any other. Raises NotFound if there
    is no such alias, StoreError if it has not pointed at anything else before.
    """
    last = last_move(home, alias)
    if last is None:
        mend = "`luthier models promote` sets an alias"
        raise NotFound(f"there is no alias {alias!r}", str(home.root), mend)
    return models.move(home, last.name, last.alias, _before, kind="rollback", reason=reason)


def _before(moves: Sequence[Move]) -> int:
    standing = stack(moves)
    if len(standing) < 2:
        last = moves[-1]
        what = f"there is nothing to go back to: {last.name}@{last.version} is the first version it points at"
        mend = f"Promote another: `luthier models promote {last.name}@VERSION {last.alias}`"
        raise StoreError(what, f"{last.name}@{last.alias}", mend)
    return standing[-2]


def stack(moves: Iterable[Move]) -> list[int]:
    """The versions that an alias can go back through, the present one last."""
    versions: list[int] = []
    for move in moves:
        if move.kind == "rollback":
            versions.pop()
        elif versions[-1:] != [move.version]:
            versions.append(move.version)
    return versions


def history(home: Home, alias: str | None = None) -> list[Move]:
    """Moves, oldest first: of `tickets@production`, of `production` in every model, or of all aliases."""
    if alias is None:
        return models.moves(home)
    name, at, word = alias.rpartition("@")
    return models.moves(home, alias=word, name=name if at else None)


def current(home: Home, name: str | None = None) -> dict[str, int]:
    """`tickets@production` → version, for the aliases of one model or of all."""
    return {f"{move.name}@{move.alias}": move.version for move in models.moves(home, name=name)}
