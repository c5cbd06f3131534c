"""From a model's name to its files: a folder, a packaged model, or a hub id. Loads no weights, no torch."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from luthier.errors import ModelError
from luthier.models.content import content_sha256
from luthier.models.extras import require_bitsandbytes
from luthier.models.families import Kind, context_length, kind_of
from luthier.models.hub import hub_folder
from luthier.models.packaged import PACKAGED, packaged_folder
from luthier.models.weights import count_parameters, weight_files
from luthier.recipe.values import NumberFormat, Precision


@dataclass(frozen=True)
class ModelFiles:
    """A base model on this machine: its folder, and what can be said of it without loading it."""

    name: str
    """As it was asked for; a packaged name in its own spelling."""
    folder: Path
    kind: Kind
    config: Mapping[str, Any]
    """config.json."""
    source: Literal["packaged", "local", "hub"]
    licence: str | None
    num_parameters: int
    """Stored floating-point numbers; tied weights count once."""
    context_length: int
    """Tokens."""
    sha256: str
    """Content hash of the weights."""
    quantised: str | None
    """The number format the weights were quantised to before they came here."""
    cache: Path
    """Where conversions of the weights are kept."""
    number_format: NumberFormat = "float32"
    """What the linear layers are held in when they are loaded."""
    streamed: bool = False
    """Whether the linear layers stay in the files and are read whenever they are needed."""
    precision: Precision = "float32"
    """What the model computes in."""

    @property
    def weights_key(self) -> str:
        """What decides what the base says: the weights' hash, what they are held in, and what is computed in."""
        parts = [self.sha256, *(name for name in (self.number_format, self.precision) if name != "float32")]
        return " ".join(parts)


def locate(
    name: str, cache: Path, note: Callable[[str], None] = lambda text: None, number_format: NumberFormat = "float32",
    streamed: bool = False, precision: Precision = "float32",
) -> ModelFiles:  # fmt: skip
    """Finds model `name`: a packaged model, a folder, or a hub id.

    Conversions and remembered hashes go to the folder `cache`; `note` is told what takes long. Raises
    ModelError: no such model, no network, pickled or broken weights, an adapter, an unknown family, no bitsandbytes
    for weights of four bits.
    """
    if number_format == "nf4":
        require_bitsandbytes()
    found = _found(name, cache, note)
    return replace(found, number_format=number_format, streamed=streamed, precision=precision)


def _found(name: str, cache: Path, note: Callable[[str], None]) -> ModelFiles:
    packaged = PACKAGED.get(name.lower())
    if packaged:
        name = name.lower()
        folder = packaged_folder(name, cache, note)
        return _describe(name, folder, "packaged", cache, packaged.licence, packaged.quantised)
    local = Path(name).expanduser().absolute()
    if local.exists():
        return _describe(name, local, "local", cache)
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        return _describe(name, hub_folder(name, note), "hub", cache)
    raise ModelError(f"no folder and no packaged model is called `{name}`", mend=_nearest(name))


def _describe(
    name: str,
    folder: Path,
    source: Literal["packaged", "local", "hub"],
    cache: Path,
    licence: str | None = None,
    quantised: str | None = None,
) -> ModelFiles:
    _check_folder(folder)
    config = _read_config(folder / "config.json")
    kind = kind_of(config, str(folder))
    weights = weight_files(folder)
    return ModelFiles(
        name=name,
        folder=folder,
        kind=kind,
        config=config,
        source=source,
        licence=licence or _licence(folder),
        num_parameters=count_parameters(weights),
        context_length=context_length(config, str(folder)),
        sha256=content_sha256(weights, cache),
        cache=cache,
        quantised=quantised or (config.get("quantization_config") or {}).get("quant_method"),
    )


def _check_folder(folder: Path) -> None:
    where = str(folder)
    if folder.is_file():
        gguf = "Weights in GGUF cannot be trained; give the safetensors folder they were made from"
        folder_wanted = "Give the folder that holds config.json and the weights"
        raise ModelError("is a file, not a model folder", where, gguf if folder.suffix == ".gguf" else folder_wanted)
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        base = json.loads((folder / "adapter_config.json").read_text()).get("base_model_name_or_path")
        raise ModelError(f"is an adapter of `{base}`, not a model", where, "Give its base model, or merge it first")
    for file in ("config.json", "tokenizer.json"):
        if not (folder / file).exists():
            raise ModelError(f"has no {file}", where, _how_to_get(file))


def _how_to_get(file: str) -> str:
    if file == "config.json":
        return "A model folder holds config.json, tokenizer.json and *.safetensors"
    return "Make it with transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", str(path), "Let this user read the folder") from error
    except ValueError as error:
        raise ModelError(
            f"is not JSON ({error})", str(path), "Copy the file again from where the model came"
        ) from error
    if not isinstance(config, dict):
        raise ModelError("is not a JSON object", str(path), "Copy the file again from where the model came")
    return config


def _licence(folder: Path) -> str | None:
    """`license:` of the front matter of README.md, where there is one."""
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.exists() else ""
    front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:\s*['\"]?([^'\"\n]+)", front[1], re.MULTILINE) if front else None
    return found[1].strip() if found else None


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), PACKAGED, n=1, cutoff=0.4)
    start = f"Did you mean `{near[0]}`? " if near else ""
    return f"{start}Packaged models: {', '.join(PACKAGED)}; a hub id is written owner/name, a folder ./name"
