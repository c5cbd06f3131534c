"""The Modelfile of a model: ChatML in Go's words, its system message, and where answers end."""

from __future__ import annotations

from pathlib import Path

from luthier.data.render import Renderer
from luthier.models.export.ollama import chatml_system, modelfile

HELPER = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
OTHER = (
    "{% for message in messages %}{{ '[' + message['role'] + '] ' + message['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
)


def test_chatml_is_written_for_go(tiny_llama: Path) -> None:
    said = modelfile(Renderer.from_folder(tiny_llama), "model.gguf", "adapter.gguf")
    assert said.startswith("FROM ./model.gguf\nADAPTER ./adapter.gguf\n")
    assert "<|im_start|>{{ .Role }}" in said
    assert 'PARAMETER stop "<|im_end|>"' in said
    assert "SYSTEM" not in said


def test_the_message_that_the_template_adds_is_the_system_message(tiny_llama: Path) -> None:
    renderer = Renderer.from_folder(tiny_llama, HELPER)
    assert chatml_system(renderer) == "Be kind."
    assert 'SYSTEM """Be kind."""' in modelfile(renderer, "model.gguf", None)


def test_another_template_is_left_to_ollama(tiny_llama: Path) -> None:
    renderer = Renderer.from_folder(tiny_llama, OTHER)
    assert chatml_system(renderer) is None
    said = modelfile(renderer, "model.gguf", None)
    assert "TEMPLATE is left out" in said
    assert "ADAPTER" not in said
