"""What a block is said to keep until the backward is what autograd keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from families import config, folder_of
from policies import files_of
from torch import Tensor

from luthier.data.batch import pack
from luthier.data.forest import Row
from luthier.models.activations import BERTS, GATED, kept_numbers
from luthier.models.load import make_policy
from luthier.recipe import Adapter
from luthier.recipe.facts import MOST_KEPT

WIDTH, INNER, TOKENS = 64, 176, 200
SIZES = {
    "hidden_size": WIDTH, "dim": WIDTH, "embedding_size": WIDTH, "intermediate_size": INNER, "hidden_dim": INNER,
    "head_dim": WIDTH // 4, "max_position_embeddings": 300, "sliding_window": 300,
}  # fmt: skip
USUAL = {"llama", "qwen3", "bert"}
LORA, FULL = Adapter(lora_r=1), Adapter(type="full")


def kept(folder: Path, adapter: Adapter) -> float:
    """Numbers that autograd keeps of each token of a forward pass, over the width, without parameters."""
    policy = make_policy(files_of(folder), adapter, seed=1)
    own = {parameter.untyped_storage().data_ptr() for parameter in policy.wrapped.parameters()}
    held: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    row = Row(np.arange(TOKENS) % 300 + 3, np.ones(TOKENS, np.float32), 0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        policy.hidden(pack([row]))
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values()) / 4 / TOKENS / WIDTH


@pytest.mark.parametrize("family", [
    pytest.param(family, marks=[] if family in USUAL else pytest.mark.slow) for family in sorted(GATED | BERTS)
])  # fmt: skip
def test_a_block_keeps_as_much_as_is_said(family: str, tiny_llama: Path, tmp_path: Path) -> None:
    known = {*config(family).to_dict(), *config(family).attribute_map}
    sizes = {name: size for name, size in SIZES.items() if name in known}
    folders = []
    for layers in (1, 2):
        depth = {n: layers for n in ("num_hidden_layers", "n_layers") if n in known}
        folders.append(folder_of(family, tmp_path / str(layers), tiny_llama, **sizes, **depth))
    said = kept_numbers(files_of(folders[0]).config)
    for adapter, wanted in zip((LORA, FULL), said, strict=True):
        one, two = (kept(folder, adapter) for folder in folders)
        assert two - one == pytest.approx(wanted, rel=0.08)


def test_of_other_families_the_most_is_said(tiny_llama: Path) -> None:
    llama = files_of(tiny_llama).config
    assert kept_numbers({**llama, "hidden_act": "gelu"}) == (MOST_KEPT, MOST_KEPT)
    assert kept_numbers({**llama, "model_type": "gemma3_text"}) == (MOST_KEPT, MOST_KEPT)
    assert kept_numbers({"model_type": "bert", "hidden_size": 8}) == (MOST_KEPT, MOST_KEPT)
