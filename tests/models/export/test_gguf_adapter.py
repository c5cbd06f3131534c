"""LoRA adapters as GGUF: llama.cpp adds what PEFT adds, whatever scales the adapter has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from luthier.errors import ModelError
from luthier.models.export.gguf_adapter import not_plain, write_adapter
from luthier.models.export.gguf_file import write_gguf
from luthier.serve.engines.asking import all_answers
from luthier.serve.engines.engine import Ask
from luthier.serve.engines.llama_cpp import LlamaEngine

PROMPT = [5, 80, 201, 33, 17, 204, 9, 61]
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ["q_proj", "k_proj", "down_proj"]},
    "rank-stabilised": {"target_modules": "all-linear", "use_rslora": True},
    "patterns": {
        "target_modules": ["q_proj", "up_proj"],
        "rank_pattern": {"layers.1.mlp.up_proj": 2},
        "alpha_pattern": {"q_proj": 3.0},
    },
}


def write_peft(llama: Path, folder: Path, **settings: Any) -> Any:
    """A random adapter in `folder`, and the model with it."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape))
    tuned.save_pretrained(str(folder))
    base = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
    return PeftModel.from_pretrained(base, folder).eval()


@pytest.mark.parametrize("name", SETTINGS)
def test_llama_cpp_adds_what_peft_adds(name: str, tiny_llama: Path, tmp_path: Path) -> None:
    model = write_peft(tiny_llama, tmp_path / "adapter", **SETTINGS[name])
    config = json.loads((tiny_llama / "config.json").read_text())
    write_gguf(tiny_llama, config, "f32", tmp_path / "model.gguf")
    write_adapter(tmp_path / "adapter", config, tmp_path / "adapter.gguf")
    engine = LlamaEngine(
        tmp_path / "model.gguf", tiny_llama, {"it": tmp_path / "adapter.gguf"}, memory_bits=32, threads=1
    )
    try:
        asks = [Ask("", PROMPT, 1, adapter, temperature=0.0, top_logprobs=20) for adapter in ("it", None)]
        (tuned,), (base,) = all_answers(engine, asks)
    finally:
        engine.close()
    with torch.no_grad():
        logprobs = model(torch.tensor([PROMPT])).logits[0, -1].log_softmax(0)
    assert [value for _, value in tuned.top] == pytest.approx(logprobs.topk(20).values.tolist(), abs=1e-4)
    assert abs(tuned.top[0][1] - base.top[0][1]) > 0.01


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "learnt whole"),
    ],
)
def test_what_is_no_plain_lora_is_told(change: dict, said: str, tiny_llama: Path, tmp_path: Path) -> None:
    write_peft(tiny_llama, tmp_path, target_modules=["q_proj"])
    assert not_plain(tmp_path) is None
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert said in str(not_plain(tmp_path))
    config = json.loads((tiny_llama / "config.json").read_text())
    with pytest.raises(ModelError, match=said):
        write_adapter(tmp_path, config, tmp_path / "adapter.gguf")


def test_an_adapter_of_another_base_does_not_fit(tiny_llama: Path, tmp_path: Path) -> None:
    write_peft(tiny_llama, tmp_path / "adapter", target_modules=["q_proj"])
    config = json.loads((tiny_llama / "config.json").read_text())
    write_gguf(tiny_llama, config, "f32", tmp_path / "model.gguf")
    other = config | {"num_attention_heads": 4}
    write_adapter(tmp_path / "adapter", other, tmp_path / "good.gguf")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes((tmp_path / "good.gguf").read_bytes().replace(b"blk.0.attn_q", b"blk.9.attn_q"))
    engine = LlamaEngine(tmp_path / "model.gguf", tiny_llama, threads=1)
    try:
        with pytest.raises(ModelError, match="does not fit"):
            engine.load("it", broken)
        engine.load("it", tmp_path / "good.gguf")
        assert len(all_answers(engine, [Ask("", PROMPT, 3, "it")])[0]) == 3
    finally:
        engine.close()
