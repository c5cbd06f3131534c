"""The engines that the conformance suite holds to their promises, and transformers, which it compares them with.

An engine is one entry of `CASES`: how it opens a model folder with adapters, and how far its log-probabilities may be
from those of transformers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from policies import files_of
from torch import Tensor
from transformers import AutoModelForCausalLM

from luthier.models.load import make_policy, save_policy
from luthier.recipe import Adapter
from luthier.serve.engines.engine import Engine

LONGEST = 10
"""New tokens of an answer, where nothing else is said."""
ADAPTERS = {"tickets": Adapter(lora_r=4, lora_alpha=8.0), "jokes": Adapter(lora_r=2, lora_target_modules=("q_proj",))}


class Case(NamedTuple):
    """`open(model, adapters, place)`: folders of the model and of adapters by name, and one for files of its own."""

    open: Callable[[Path, Mapping[str, Path], Path], Engine]
    tolerance: float


def open_torch(model: Path, adapters: Mapping[str, Path], place: Path) -> Engine:
    from luthier.models.load import load_base
    from luthier.serve.engines.torch_engine import TorchEngine

    engine = TorchEngine(load_base(files_of(model)), files_of(model))
    for name, folder in adapters.items():
        engine.load(name, folder)
    return engine


def open_llama_cpp(model: Path, adapters: Mapping[str, Path], place: Path) -> Engine:
    from luthier.models.export.gguf_file import write_gguf
    from luthier.serve.engines.llama_cpp import LlamaEngine

    write_gguf(model, json.loads((model / "config.json").read_text()), "f32", place / "model.gguf")
    return LlamaEngine(place / "model.gguf", model, adapters, memory_bits=32, threads=1)


CASES = {"torch": Case(open_torch, 1e-4), "llama_cpp": Case(open_llama_cpp, 1e-3)}


def write_adapters(model: Path, root: Path) -> dict[str, Path]:
    """Adapters whose matrices are large enough to change what is written: their folders, by name."""
    files = files_of(model)
    for number, (name, adapter) in enumerate(ADAPTERS.items()):
        policy, draw = make_policy(files, adapter, seed=number), torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in policy.trainable().values():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
        save_policy(policy, root / name, files)
    return {name: root / name for name in ADAPTERS}


class Reference:
    """transformers, with PEFT's adapters."""

    def __init__(self, folder: Path, adapters: Mapping[str, Path]) -> None:
        def base() -> Any:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
            model.generation_config.eos_token_id = None
            return model

        self.models = {None: base(), **{name: PeftModel.from_pretrained(base(), at) for name, at in adapters.items()}}

    @torch.no_grad()
    def greedy(self, prompt: Sequence[int], adapter: str | None = None, longest: int = LONGEST) -> list[int]:
        ids = torch.tensor([list(prompt)])
        model = self.models[adapter]
        found = model.generate(input_ids=ids, max_new_tokens=longest, do_sample=False, pad_token_id=0)
        return found[0, len(prompt) :].tolist()

    @torch.no_grad()
    def logits(self, ids: Sequence[int], adapter: str | None = None) -> Tensor:
        """Those of the token after each, (T, V)."""
        return self.models[adapter](torch.tensor([list(ids)])).logits[0]
