"""Dataset versions: prepared data at rest, under an id made of its content.

A version is a folder in the store: `manifest.json`, one Parquet file a split, and `rejects.parquet`. The same
data gives the same id, and is stored once.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luthier.data.columns import canonical, read_examples, values, write_examples
from luthier.data.difference import Difference, difference
from luthier.data.example import Example
from luthier.data.prepared import Prepared
from luthier.data.steps.reject import Reject
from luthier.errors import NotFound
from luthier.recipe.types import Recipe
from luthier.store import Home
from luthier.store.files import write_json

SPLITS = ("train", "validation", "test", "earlier", "beside", "beside_validation", "beside_test")
CACHE = "datasets"


@dataclass(frozen=True)
class DatasetVersion:
    """`id` is `ds-` and 12 hex digits; `tree_sha` names the stored folder."""

    id: str
    manifest: dict[str, Any]
    tree_sha: str


@dataclass(frozen=True)
class Whereabouts:
    """What became of a row: the split it is in, or the step that dropped it and why."""

    example: Example
    split: str | None = None
    step: str | None = None
    reason: str | None = None


def write(home: Home, prepared: Prepared, recipe: Recipe, parents: Sequence[str] = ()) -> DatasetVersion:
    """Store `prepared`, or find it stored. `parents` are the ids of the versions it was made from."""
    from luthier.store import datasets

    version_id = content_id(prepared)
    try:
        return get(home, version_id)
    except NotFound:
        manifest = _manifest(version_id, prepared, recipe, parents)
    with tempfile.TemporaryDirectory(dir=home.cache(CACHE)) as folder:
        _write_files(Path(folder), prepared, manifest)
        tree_sha = home.blobs.put_tree(Path(folder))
    row = datasets.add(home, version_id, manifest, tree_sha)
    return DatasetVersion(row.id, row.manifest, row.tree_sha)


def get(home: Home, version_id: str) -> DatasetVersion:
    """The version with this id, or the only one that begins so. Raises `NotFound`."""
    from luthier.store import datasets

    row = datasets.get(home, version_id)
    return DatasetVersion(row.id, row.manifest, row.tree_sha)


def read(home: Home, version_id: str, split: str) -> list[Example]:
    """The rows of one split, in order. Raises `NotFound` for an unknown version or split."""
    if split not in SPLITS:
        raise NotFound(f"there is no split {split!r}", version_id, f"The splits are: {', '.join(SPLITS)}")
    path = folder(home, version_id) / f"{split}.parquet"
    return read_examples(path)[0] if path.exists() else []


def rejects(home: Home, version_id: str) -> list[Reject]:
    """The rows that were dropped, each with step and reason."""
    examples, columns = read_examples(folder(home, version_id) / "rejects.parquet")
    return _rejects(examples, columns)


def where(home: Home, version_id: str, row_id: str) -> Whereabouts:
    """Where a source row ended up. Raises `NotFound` if the version never saw it."""
    path = folder(home, version_id)
    for split in (name for name in SPLITS if (path / f"{name}.parquet").exists()):
        found, _ = read_examples(path / f"{split}.parquet", row_id)
        if found:
            return Whereabouts(found[0], split=split)
    for example, step, reason, _ in _rejects(*read_examples(path / "rejects.parquet", row_id)):
        return Whereabouts(example, step=step, reason=reason)
    names = sorted({name for source in get(home, version_id).manifest["sources"] for name in source["files"]})
    mend = f"Row ids are <file name>:<line or record>; its files: {', '.join(names[:5])}"
    raise NotFound(f"the version has no row {row_id!r}", version_id, mend)


def diff(home: Home, before: str, after: str) -> Difference:
    """What changed between two versions, given by id."""
    old, new = ({split: read(home, one, split) for split in SPLITS} for one in (before, after))
    return difference(old, new)


def folder(home: Home, version_id: str) -> Path:
    """The version's files, in a cache folder: read them, change nothing."""
    version = get(home, version_id)
    return home.blobs.get_tree(version.tree_sha, home.cache(CACHE) / version.id)


def content_id(prepared: Prepared) -> str:
    """`ds-` and 12 hex digits of the hash of all rows, splits and rejects included."""
    digest = hashlib.sha256()
    for name in SPLITS:
        for example in prepared.splits.get(name, ()):
            digest.update(f"{canonical([name, values(example)])}\n".encode())
    for reject in prepared.rejects:
        digest.update(f"{canonical([reject.step, reject.reason, values(reject.example)])}\n".encode())
    return f"ds-{digest.hexdigest()[:12]}"


def _write_files(target: Path, prepared: Prepared, manifest: dict[str, Any]) -> None:
    for name, examples in prepared.splits.items():
        write_examples(target / f"{name}.parquet", examples)
    columns = {name: [getattr(reject, name) for reject in prepared.rejects] for name in ("step", "reason", "kind")}
    write_examples(target / "rejects.parquet", [reject.example for reject in prepared.rejects], columns)
    write_json(target / "manifest.json", manifest)


def _manifest(version_id: str, prepared: Prepared, recipe: Recipe, parents: Sequence[str]) -> dict[str, Any]:
    licences = {source.licence for source in prepared.sources if source.licence}
    return {
        "id": version_id,
        "parents": list(parents),
        "task": prepared.task,
        "labels": list(prepared.labels),
        "multi_label": prepared.multi_label,
        "splits": {name: len(examples) for name, examples in prepared.splits.items()},
        "rejects": len(prepared.rejects),
        "sources": [_source(source) for source in prepared.sources],
        "steps": [asdict(step) for step in prepared.steps],
        "licences": sorted(licences),
        "notes": prepared.notes,
        "curate": recipe.curate.model_dump(mode="json"),
        "cut": recipe.splits.model_dump(mode="json"),
    }


def _source(source: Any) -> dict[str, Any]:
    return {
        "path": str(source.path),
        "files": list(source.files),
        "sha256": source.sha256,
        "type": source.detected,
        "why": source.why,
        "columns": dict(source.columns),
        "rows": source.rows,
        "split": source.split,
        "licence": source.licence,
    }


def _rejects(examples: Sequence[Example], columns: dict[str, list[str]]) -> list[Reject]:
    rows = zip(examples, columns["step"], columns["reason"], columns["kind"], strict=True)
    return [Reject(*row) for row in rows]
