"""From the name that a client asks for to a version of the registry or a base model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from luthier.errors import NotFound
from luthier.registry import versions
from luthier.serve.refusals import UnknownModel
from luthier.store import Home, jobs, models, served
from luthier.store.models import ModelVersion

Bases = Callable[[], Iterable[str]]
"""Names of the base models that may be asked for by themselves."""


@dataclass(frozen=True)
class Route:
    """Where a name leads at this moment."""

    ref: str
    """`name@3`, or the base model's name."""
    version: ModelVersion | None
    """None for a base model."""


class Routes:
    """Names → routes. What was looked up is kept until a version, an alias or a job's model has come since."""

    def __init__(self, home: Home, bases: Bases) -> None:
        self.home, self.bases = home, bases
        self._stamp: tuple[Any, ...] | None = None
        self._known: dict[str, Route] = {}

    def of(self, name: str) -> Route:
        """Raises UnknownModel."""
        stamp = served.stamp(self.home)
        if stamp != self._stamp:
            self._known, self._stamp = {}, stamp
        if name not in self._known:
            self._known[name] = self._look_up(name)
        return self._known[name]

    def _look_up(self, name: str) -> Route:
        ref = jobs.version_of(self.home, name) or name
        try:
            version = versions.get(self.home, ref)
        except NotFound as error:
            if name.lower() in {base.lower() for base in self.bases()}:
                base = next(base for base in self.bases() if base.lower() == name.lower())
                return Route(base, None)
            several = error.what if "several" in error.what else f"no model is called {name!r}"
            message = f"{several}; GET /v1/models lists those there are"
            raise UnknownModel(message) from None
        return Route(version.ref, version)


def names(home: Home, bases: Iterable[str]) -> dict[str, str]:
    """Every name that can be asked for → when it came, as an ISO 8601 text; empty for a base model."""
    found = dict.fromkeys(bases, "")
    for version in reversed(versions.list_versions(home)):  # of one name the newest comes last
        found |= {version.ref: version.created_at, version.name: version.created_at}
    found |= {f"{move.name}@{move.alias}": move.at for move in models.moves(home)}
    return found | served.jobs_models(home)
