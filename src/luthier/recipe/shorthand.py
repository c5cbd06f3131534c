"""The short forms of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

SECTIONS = ("adapter", "objective", "splits", "curate", "train", "privacy", "evaluate", "ship", "machine")


def expand(given: Mapping[str, Any]) -> dict[str, Any]:
    """Write the short forms out: a data path or entry becomes a list, a type name becomes a mapping.

    A section that is there but empty (`train:` with nothing under it) is taken as not written. All else is
    kept as it is, mistakes included.
    """
    full = {key: value for key, value in given.items() if value is not None or key not in SECTIONS}
    if full.get("data") is not None:
        entries = full["data"] if isinstance(full["data"], (list, tuple)) else [full["data"]]
        full["data"] = [{"path": fspath(e)} if isinstance(e, (str, PathLike)) else e for e in entries]
    for key in ("adapter", "objective"):
        if isinstance(full.get(key), str):
            full[key] = {"type": full[key]}
    return full
