"""Keeping the home tidy."""

from __future__ import annotations

import shutil
from typing import Literal

from luthier.store import Home


def clean(home: Home, what: Literal["caches"] = "caches") -> int:
    """Remove what can be made again; returns the bytes that were freed."""
    folder = home.root / "cache"
    freed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
    shutil.rmtree(folder, ignore_errors=True)
    return freed
