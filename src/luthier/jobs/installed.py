"""What is installed, held against what the package asks for: itself, and each of its extras."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

EXTRAS = {
    "serve": "the service: chat, jobs and feedback over HTTP, grammars, llama.cpp",
    "bnb": "a base in 4 bits, moments in 8 bits",
    "dp": "privacy: how much a run may tell of a row",
    "postgres": "a database for several machines",
    "s3": "blobs in an object store",
    "quick": "a faster tokenizer",
    "lean": "an allocator with which training takes less memory",
}
"""What each extra is for; `dev` is for those who work on Luthier."""


@dataclass(frozen=True)
class Package:
    """A package that is asked for, and the version that is there."""

    name: str
    wanted: str
    version: str | None

    @property
    def fits(self) -> bool:
        """Whether it is there in a version that is wanted."""
        return self.version is not None and SpecifierSet(self.wanted).contains(self.version, prereleases=True)


def core() -> list[Package]:
    """The packages that everything needs."""
    return [_package(wish) for wish in _wishes("")]


def extras() -> dict[str, list[Package]]:
    """The packages of each extra, on this machine."""
    return {name: [_package(wish) for wish in _wishes(name)] for name in EXTRAS}


def pip_install(extra: str) -> str:
    """The command that installs or updates what an extra needs."""
    return f"pip install 'luthier[{extra}]'"


def version_of(name: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _wishes(extra: str) -> Iterator[Requirement]:
    """Of the package itself (""), or of an extra alone, on this machine."""
    for wish in map(Requirement, requires("luthier") or ()):
        always = _holds(wish, "")
        if always if not extra else not always and _holds(wish, extra):
            yield wish


def _holds(wish: Requirement, extra: str) -> bool:
    return wish.marker is None or wish.marker.evaluate({"extra": extra})


def _package(wish: Requirement) -> Package:
    return Package(wish.name, str(wish.specifier), version_of(wish.name))
