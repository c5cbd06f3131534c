"""A model, its base and what was learnt on it, written in the formats of other tools."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from luthier.data.render import Renderer
from luthier.errors import ModelError
from luthier.models.export.architecture import check_architecture
from luthier.models.export.gguf_adapter import not_plain, write_adapter
from luthier.models.export.gguf_file import Numbers, write_gguf
from luthier.models.export.ollama import modelfile
from luthier.models.locate import ModelFiles
from luthier.models.packaged import published_gguf
from luthier.models.weights import weight_files

Progress = Callable[[int, int], None]
GGUF: dict[str, Numbers] = {"gguf-f16": "f16", "gguf-q8_0": "q8_0", "gguf-q4_1": "q4_1"}
LLAMA = ("gguf-adapter", *GGUF, "ollama")
"""What llama.cpp runs."""
FORMATS = ("safetensors", "adapter", *LLAMA)
MODEL, ADAPTER = "model.gguf", "adapter.gguf"


@dataclass(frozen=True)
class Subject:
    """What is exported: a base, and the folder of what was learnt on it, if there is one."""

    name: str
    files: ModelFiles
    adapter: Path | None
    renderer: Renderer
    sha256: str
    """Of what it is made from."""

    @property
    def plain(self) -> bool:
        """Whether llama.cpp can put what was learnt on the base without merging them."""
        return self.adapter is not None and not_plain(self.adapter) is None


def fault(subject: Subject, format: str) -> str | None:
    """Why the subject has no such format; None where it has."""
    if format not in FORMATS:
        return f"`{format}` is no format; there are {', '.join(FORMATS)}"
    if subject.files.kind != "decoder" or (subject.adapter and (subject.adapter / "head.json").exists()):
        return None if format == "adapter" else "it does not write text, and other tools run only models that do"
    if format in ("adapter", "gguf-adapter") and subject.adapter is None:
        return "it is a base model, without an adapter"
    if format == "gguf-adapter" and not subject.plain:
        return f"what was learnt {not_plain(subject.adapter)}" if subject.adapter else None
    if format not in ("safetensors", "adapter"):
        try:
            check_architecture(subject.files.config)
        except ModelError as error:
            return error.what
    return None


def write(subject: Subject, format: str, target: Path, progress: Progress = lambda done, total: None) -> None:
    """Fill the folder `target`. Raises ModelError where that cannot be."""
    if format == "adapter":
        assert subject.adapter is not None
        shutil.copytree(subject.adapter, target, dirs_exist_ok=True)
    elif format == "safetensors":
        merged_folder(subject, target)
    elif format in GGUF or (format == "ollama" and subject.adapter and not subject.plain):
        merged_gguf(subject, target / MODEL, GGUF.get(format, "q8_0"), progress)
    else:
        published = published_gguf(subject.files.name)
        if published:
            shutil.copyfile(published, target / MODEL)
        else:
            write_base(subject, target / MODEL, progress=progress)
        if subject.plain:
            lora_gguf(subject, target / ADAPTER)
    if format == "ollama":
        text = modelfile(subject.renderer, MODEL, ADAPTER if subject.plain else None)
        (target / "Modelfile").write_text(text, encoding="utf-8")


def write_base(
    subject: Subject, target: Path, numbers: Numbers = "q8_0", progress: Progress = lambda done, total: None
) -> None:
    """The base alone."""
    files = subject.files
    write_gguf(files.folder, files.config, numbers, target, subject.renderer, files.name, progress)


def lora_gguf(subject: Subject, target: Path) -> None:
    """What was learnt alone."""
    assert subject.adapter is not None
    write_adapter(subject.adapter, subject.files.config, target)


def merged_gguf(
    subject: Subject, target: Path, numbers: Numbers = "q8_0", progress: Progress = lambda done, total: None
) -> None:
    """The base with what was learnt merged into it."""
    if subject.adapter is None:
        write_base(subject, target, numbers, progress)
        return
    with TemporaryDirectory(prefix="merged-", dir=target.parent) as made:
        merged_folder(subject, Path(made))
        write_gguf(Path(made), subject.files.config, numbers, target, subject.renderer, subject.name, progress)


def merged_folder(subject: Subject, target: Path) -> None:
    """The base with what was learnt merged into it, as an ordinary model folder."""
    from luthier.models.merge import merge

    adapter = subject.adapter
    if adapter is not None and (adapter / "adapter_config.json").exists():
        merge(subject.files, adapter, target)
    else:
        shutil.copytree(subject.files.folder, target, dirs_exist_ok=True)
    if adapter is not None and (adapter / "model.safetensors").exists():  # all weights were learnt
        for file in weight_files(target):
            file.unlink()
        for file in (adapter / "config.json", *weight_files(adapter)):
            shutil.copyfile(file, target / file.name)
    if subject.renderer.template_source == "recipe":
        (target / "chat_template.jinja").write_text(str(subject.renderer.chat_template), encoding="utf-8")
