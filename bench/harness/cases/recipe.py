"""What every fit of Luthier is handed: files as a user has them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from harness.case import Inputs
from harness.count import Model
from harness.rows import Row
from luthier.models.locate import ModelFiles, locate


@lru_cache(maxsize=4)
def model(name: str, cache: Path) -> tuple[ModelFiles, Model]:
    """The model's files, and its weights in numbers: the output layer's are those of the vocabulary."""
    files = locate(name, cache)
    table = int(files.config["vocab_size"]) * int(files.config["hidden_size"])
    return files, Model(files.num_parameters - table, table)


def home(inputs: Inputs) -> Path:
    """An empty home that finds its models converted, but neither features nor log-probabilities of a turn before."""
    folder = Path(tempfile.mkdtemp(prefix="home-", dir=inputs.scratch))
    (folder / "cache").mkdir()
    os.symlink(inputs.cache.resolve(), folder / "cache" / "models", target_is_directory=True)
    return folder


def write_recipe(inputs: Inputs, name: str, recipe: dict[str, Any], rows: Sequence[Row], entry: dict[str, Any]) -> str:
    """`name`.jsonl with the rows as they stand in their file, and `name`.yaml; the path of the latter."""
    data = inputs.scratch / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row.raw, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    whole = {"name": name, **recipe, "data": {"path": str(data), **entry}}
    path = inputs.scratch / f"{name}.yaml"
    path.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    return str(path)
