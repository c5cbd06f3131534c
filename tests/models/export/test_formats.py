"""Each format of a model, and why there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from policies import files_of
from safetensors.torch import load_file

from luthier.data.render import Renderer
from luthier.models.export.formats import FORMATS, Subject, fault, write
from luthier.models.export.gguf_header import read_header
from luthier.models.load import make_policy, save_policy
from luthier.recipe import Adapter


def subject(folder: Path, adapter: Path | None = None) -> Subject:
    return Subject("it@1", files_of(folder), adapter, Renderer.from_folder(folder), "0" * 64)


def learnt(folder: Path, model: Path, adapter: Adapter, labels: tuple[str, ...] = ()) -> Path:
    files = files_of(model)
    policy = make_policy(files, adapter, labels)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    save_policy(policy, folder, files)
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_every_format_of_a_lora_adapter(tiny_llama: Path, tmp_path: Path) -> None:
    it = subject(tiny_llama, learnt(tmp_path / "learnt", tiny_llama, Adapter(lora_r=2, lora_alpha=4.0)))
    for format in FORMATS:
        assert fault(it, format) is None
        (tmp_path / format).mkdir()
        write(it, format, tmp_path / format)
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names(tmp_path / "adapter")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names(tmp_path / "safetensors")
    assert names(tmp_path / "gguf-q8_0") == {"model.gguf"}
    assert names(tmp_path / "gguf-adapter") == {"model.gguf", "adapter.gguf"}
    assert names(tmp_path / "ollama") == {"model.gguf", "adapter.gguf", "Modelfile"}
    assert read_header(tmp_path / "gguf-f16" / "model.gguf")["general.file_type"] == 1
    base, merged = (load_file(path / "model.safetensors") for path in (tiny_llama, tmp_path / "safetensors"))
    assert not torch.equal(base["model.layers.0.mlp.up_proj.weight"], merged["model.layers.0.mlp.up_proj.weight"])


def test_all_weights_take_the_place_of_the_bases(tiny_llama: Path, tmp_path: Path) -> None:
    it = subject(tiny_llama, learnt(tmp_path / "learnt", tiny_llama, Adapter(type="full")))
    (tmp_path / "whole").mkdir()
    write(it, "safetensors", tmp_path / "whole")
    found, own = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "learnt"))
    assert all(torch.equal(found[name], own[name]) for name in own)
    assert "tokenizer.json" in names(tmp_path / "whole")
    (tmp_path / "ollama").mkdir()
    write(it, "ollama", tmp_path / "ollama")
    assert names(tmp_path / "ollama") == {"model.gguf", "Modelfile"}


def test_a_recipes_template_goes_with_the_model(tiny_llama: Path, tmp_path: Path) -> None:
    own = "{% for message in messages %}{{ message['content'] + '<|im_end|>' }}{% endfor %}"
    it = Subject("it@1", files_of(tiny_llama), None, Renderer.from_folder(tiny_llama, own), "0" * 64)
    for format in ("safetensors", "gguf-q8_0"):
        (tmp_path / format).mkdir()
        write(it, format, tmp_path / format)
    assert (tmp_path / "safetensors" / "chat_template.jinja").read_text() == own
    assert read_header(tmp_path / "gguf-q8_0" / "model.gguf")["tokenizer.chat_template"] == own


@pytest.mark.parametrize(
    ("kind", "format", "said"),
    [
        ("base", "pickle", "there are safetensors"),
        ("base", "adapter", "without an adapter"),
        ("ia3", "gguf-adapter", "IA3"),
        ("classes", "gguf-f16", "does not write text"),
    ],
)
def test_why_there_is_no_such_format(kind: str, format: str, said: str, tiny_llama: Path, tmp_path: Path) -> None:
    kinds = {"ia3": (Adapter(type="ia3"), ()), "classes": (Adapter(lora_r=2), ("a", "b"))}
    adapter = learnt(tmp_path / "learnt", tiny_llama, *kinds[kind]) if kind in kinds else None
    assert said in str(fault(subject(tiny_llama, adapter), format))


def test_a_family_that_llama_cpp_reads_otherwise_has_other_formats(tiny_llama: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in tiny_llama.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    config = json.loads((other / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}
    (other / "config.json").write_text(json.dumps(config))
    it = subject(other)
    assert "yarn" in str(fault(it, "gguf-q8_0"))
    assert fault(it, "safetensors") is None
