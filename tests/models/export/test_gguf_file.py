"""GGUF files: llama.cpp writes with them what transformers writes with the folder they were made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from families import folder_of
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from luthier.errors import ModelError
from luthier.models.export.architecture import frequency_factors
from luthier.models.export.gguf_file import write_gguf
from luthier.models.export.gguf_header import read_header
from luthier.serve.engines.asking import all_answers
from luthier.serve.engines.engine import Ask
from luthier.serve.engines.llama_cpp import LlamaEngine

PROMPT = [5, 80, 201, 33, 17, 204, 9, 61]
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}  # fmt: skip
FAMILIES = {
    "llama": {"rope_parameters": LLAMA3, "tie_word_embeddings": False},
    "mistral": {"sliding_window": None},
    "qwen2": {},
    "qwen3": {"tie_word_embeddings": True},
}


def config_of(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_as_transformers_does(family: str, tiny_llama: Path, tmp_path: Path) -> None:
    folder = folder_of(family, tmp_path, tiny_llama, head_dim=8, **FAMILIES[family])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
        model.save_pretrained(folder)
        logprobs = model(torch.tensor([PROMPT])).logits[0, -1].log_softmax(0)
    write_gguf(folder, config_of(folder), "f32", tmp_path / "model.gguf")
    engine = LlamaEngine(tmp_path / "model.gguf", folder, memory_bits=32, threads=1)
    try:
        ((token,),) = all_answers(engine, [Ask("", PROMPT, 1, temperature=0.0, top_logprobs=20)])
    finally:
        engine.close()
    best = logprobs.topk(20)
    assert [id for id, _ in token.top] == best.indices.tolist()
    assert [value for _, value in token.top] == pytest.approx(best.values.tolist(), abs=1e-4)


@pytest.mark.parametrize(("numbers", "apart"), [("f32", 0.0), ("f16", 5e-4), ("q8_0", 4e-3), ("q4_1", 6e-2)])
def test_fewer_bits_keep_numbers_about_as_they_were(
    numbers: str, apart: float, tiny_llama: Path, tmp_path: Path
) -> None:
    write_gguf(tiny_llama, config_of(tiny_llama), numbers, tmp_path / "model.gguf")  # type: ignore[arg-type]
    stored = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(tmp_path / "model.gguf").tensors}
    own = load_file(tiny_llama / "model.safetensors")
    up, embedding = own["model.layers.1.mlp.up_proj.weight"], own["model.embed_tokens.weight"]
    assert np.abs(stored["blk.1.ffn_up.weight"] - up).max() <= apart
    assert np.abs(stored["token_embd.weight"] - embedding).max() <= min(apart, 4e-3)
    assert "output.weight" not in stored


def test_the_header_names_the_model_and_its_tokenizer(tiny_llama: Path, tmp_path: Path) -> None:
    write_gguf(tiny_llama, config_of(tiny_llama), "q8_0", tmp_path / "model.gguf", name="tickets@3")
    found = read_header(tmp_path / "model.gguf")
    assert (found["general.name"], found["general.file_type"], found["llama.block_count"]) == ("tickets@3", 7, 2)
    assert (found["tokenizer.ggml.model"], found["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    assert (found["tokenizer.ggml.tokens"][2], found["tokenizer.ggml.token_type"][2]) == ("<|im_end|>", 3)
    assert found["tokenizer.ggml.eos_token_id"] == 2
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert "<|im_start|>" in found["tokenizer.chat_template"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "gemma2"}, "gemma2"),
        ({"model_type": "mistral", "sliding_window": 64}, "window of 64"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "yarn"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    change: dict, said: str, tiny_llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=said):
        write_gguf(tiny_llama, config_of(tiny_llama) | change, "f16", tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


def test_a_file_of_another_kind_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"PK\3\4" + bytes(40))
    with pytest.raises(ModelError, match="not a GGUF file"):
        read_header(tmp_path / "model.gguf")
    (tmp_path / "short.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="cannot be read"):
        read_header(tmp_path / "short.gguf")


def test_frequencies_of_llama_3_are_those_of_transformers() -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = LlamaConfig(hidden_size=32, num_attention_heads=2, rope_parameters=LLAMA3, max_position_embeddings=128)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1 / 10_000.0 ** (np.arange(0, 16, 2) / 16)
    factors = frequency_factors(config.to_dict())
    assert factors is not None
    assert plain / factors == pytest.approx(scaled.numpy(), rel=1e-5)
