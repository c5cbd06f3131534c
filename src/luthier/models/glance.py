"""The shape of a base model, read without converting, downloading or loading it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.errors import ModelError
from luthier.models.hub import hub_copy
from luthier.models.packaged import PACKAGED, packaged_path
from luthier.models.weights import count_parameters, weight_files


def glance(name: str, cache: Path) -> tuple[Mapping[str, Any], int]:
    """What config.json of model `name` says, and its number of parameters; `cache` holds converted models.

    Raises ModelError where no packaged model, no folder and no copy of a hub's model is called `name`.
    """
    if name in PACKAGED:
        path = packaged_path(name, cache)
        if path.suffix == ".gguf":
            from luthier.models.from_gguf import read_shape

            return read_shape(path)
    else:
        path = Path(name).expanduser().absolute()
        if not (path / "config.json").exists():
            path = _copy(name)
    return json.loads((path / "config.json").read_text(encoding="utf-8")), count_parameters(weight_files(path))


def _copy(name: str) -> Path:
    found = hub_copy(name) if name.count("/") == 1 and not name.startswith((".", "/")) else None
    if found is None:
        raise ModelError(
            f"the model `{name}` is not on this machine", mend="Copy it back to where it was, or go online"
        )
    return found
