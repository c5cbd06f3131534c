"""From the name that a client asks for to a version of the registry or a base model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from luthier.errors import NotFound
from luthier.registry import versions
from luthier.serve.refusals import UnknownModel
from luthier.store import Home, jobs, models, served
from luthier.store.models import ModelVersion
from luthier.store.served import Stamp, Watch

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
        self._watch = Watch(home)
        self._stamp: Stamp | None = None
        self._known: dict[str, Route] = {}

    async def of(self, name: str, stamp: Stamp | None = None) -> Route:
        """Where the name leads as of `stamp`, by default as of now. Raises UnknownModel."""
        stamp = stamp or await self._watch.stamp()
        if self._stamp is None or stamp.names != self._stamp.names:
            self._known, self._stamp = {}, stamp
        known = self._known
        if name not in known:
            known[name] = await asyncio.to_thread(self._look_up, name)
        return known[name]

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
