"""The shape of a base model, read without converting, downloading or loading it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.errors import ModelError
from luthier.models.hub import hub_copy
from luthier.models.packaged import PACKAGED, installed
from luthier.models.weights import count_parameters, weight_files


def glance(name: str) -> tuple[Mapping[str, Any], int]:
    """What config.json of model `name` says, and its number of parameters.

    Raises ModelError where no packaged model, no folder and no copy of a hub's model is called `name`.
    """
    path = installed(name) if name in PACKAGED else Path(name).expanduser().absolute()
    if path.suffix == ".gguf":
        return _of_gguf(path)
    if not (path / "config.json").exists():
        path = _copy(name)
    return json.loads((path / "config.json").read_text(encoding="utf-8")), count_parameters(weight_files(path))


def _of_gguf(path: Path) -> tuple[Mapping[str, Any], int]:
    """As a Llama's config.json would say it."""
    from gguf import GGUFReader

    reader = GGUFReader(path)
    fields = {key: reader.fields[key].contents() for key in reader.fields if key.startswith("llama.")}
    config = {
        "model_type": "llama", "hidden_size": fields["llama.embedding_length"],
        "num_hidden_layers": fields["llama.block_count"], "vocab_size": fields["llama.vocab_size"],
        "max_position_embeddings": fields["llama.context_length"],
    }  # fmt: skip
    return config, sum(int(tensor.n_elements) for tensor in reader.tensors)


def _copy(name: str) -> Path:
    found = hub_copy(name) if name.count("/") == 1 and not name.startswith((".", "/")) else None
    if found is None:
        raise ModelError(
            f"the model `{name}` is not on this machine", mend="Copy it back to where it was, or go online"
        )
    return found
