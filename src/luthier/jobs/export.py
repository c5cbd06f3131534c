"""`luthier export`: a model in the formats of other tools, each beside the model that it was made from."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luthier.errors import ModelError, StoreError
from luthier.evaluate.scores import Scores
from luthier.jobs.evaluate import opened
from luthier.jobs.exported import measure, scores_before
from luthier.jobs.llama import ensure_llama, subject_of
from luthier.jobs.reporting import Reporter, Stages
from luthier.jobs.workspace import whole_folder
from luthier.models.export.formats import GGUF, LLAMA, Subject, fault, write
from luthier.models.packaged import published_gguf
from luthier.recipe import HEADED, PAIRED
from luthier.serve.agreement import TOLERANCE
from luthier.store import Home, exports, runs
from luthier.store.files import read_json, sha256_file, write_json

ABOUT = "export.json"
MARGIN = 0.02
"""How much worse than the model an export may be, in the metric's own unit."""


def export(
    model: str, formats: Sequence[str], home: Home, reporter: Reporter, *, to: Path | None = None,
    data: Path | None = None, margin: float = MARGIN,
) -> dict[str, Any]:  # fmt: skip
    """Write `model`, a version or a base model, in each format, into a folder of that name below `to` (by default
    `exports/<model>` of the home), and measure it on `data`, by default the rows that its version was tested on.

    What was written whole before is not written again, what was measured on these rows is not measured again. Raises
    ModelError for a format that the model has not, StoreError where the folder holds something else.
    """
    stages, start = Stages(reporter), time.perf_counter()
    subject = subject_of(home, model, stages.note)
    for format in formats:
        if why := fault(subject, format):
            raise ModelError(f"there is no `{format}` of it: {why}", subject.name, "Choose another --format")
    root = to or home.root / "exports" / subject.name.replace("/", "--")
    folders = {format: _written(subject, format, root / format, stages) for format in dict.fromkeys(formats)}
    measured = _measured(subject, folders, home, stages, data, margin)
    served = _served(subject, folders, home, stages)
    found = [{**read_json(folder / ABOUT), "path": str(folder), **measured.get(format, {})}
             for format, folder in folders.items()]  # fmt: skip
    return {"model": subject.name, "base": subject.files.name, "data": None if data is None else str(data),
            "notes": _notes(subject, formats, bool(measured)), "exports": found, "served": served,
            "seconds": time.perf_counter() - start}  # fmt: skip


def _written(subject: Subject, format: str, folder: Path, stages: Stages) -> Path:
    """The folder of an export, as it was found or made."""
    if (folder / ABOUT).exists():
        about = read_json(folder / ABOUT)
        if about.get("made_from") == subject.sha256 and about.get("format") == format:
            return folder
    if folder.exists() and any(folder.iterdir()):
        raise StoreError("holds something else already", str(folder), "Remove it, or name another folder with --to")
    with stages.stage(f"write ({format})") as progress:
        whole_folder(folder, lambda part: _fill(subject, format, part, progress))
    return folder


def _fill(subject: Subject, format: str, part: Path, progress: Any) -> None:
    write(subject, format, part, progress)
    files = {path.relative_to(part).as_posix(): path for path in sorted(part.rglob("*")) if path.is_file()}
    write_json(part / ABOUT, {
        "model": subject.name, "format": format, "made_from": subject.sha256, "base_model": subject.files.name,
        "bytes": sum(path.stat().st_size for path in files.values()),
        "files": {name: sha256_file(path) for name, path in files.items()},
    })  # fmt: skip


def _measured(
    subject: Subject, folders: dict[str, Path], home: Home, stages: Stages, data: Path | None, margin: float
) -> dict[str, dict[str, Any]]:
    """What each export is worth, by format; nothing of a base model without rows, or of one that compares or sorts."""
    if data is None and subject.adapter is None:
        return {}
    work, is_tuned = opened(subject.name, data, home, stages)
    if work.recipe.objective.type in (*HEADED, *PAIRED):
        return {}
    rows = work.plan.dataset_version if data is None else sha256_file(data)
    made_from = f"{subject.sha256} {rows} {margin}"
    kept = runs.run_folder(home, work.plan.run_id) / "scores" / "tuned.jsonl" if is_tuned and data is None else None
    before: Scores | None = None
    found = {}
    for format, folder in folders.items():
        known = exports.newest(home, subject.name, format, made_from)
        if known is None or known.measured is None:
            before = before or scores_before(work, is_tuned, kept)
            known = exports.add(home, model=subject.name, format=format, path=folder, sha256=made_from,
                                measured=measure(work, folder, before, margin))  # fmt: skip
        found[format] = known.measured or {}
    return found


def _served(subject: Subject, formats: Iterable[str], home: Home, stages: Stages) -> dict[str, Any] | None:
    """Which engine answers from now on, and how far llama.cpp agrees; None where no format is one of llama.cpp's."""
    if not any(format in LLAMA for format in formats):
        return None
    with stages.stage("compare llama.cpp"):
        found = ensure_llama(home, subject, stages.note)
    return {"engine": "llama_cpp" if found.agreement.ok else "torch", "gguf": str(found.gguf), "held": found.held,
            "tolerance": TOLERANCE,
            **asdict(found.agreement)}  # fmt: skip


def _notes(subject: Subject, formats: Sequence[str], measured: bool) -> list[str]:
    notes = []
    if published_gguf(subject.files.name) and any(format in GGUF for format in formats):
        instead = "gguf-adapter" if subject.plain else "ollama"
        notes.append(f"{subject.files.name} was published in {subject.files.quantised}, and more bits bring nothing of "
                     f"its own back. `{instead}` has the base as it was published.")  # fmt: skip
    if not measured:
        notes.append("Nothing was measured: name rows with answers, `--data FILE`.")
    return notes
