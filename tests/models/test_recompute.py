"""Blocks that are computed again in the backward: the same gradient, less kept."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policies import batch_maker, class_policy, gradient, language_policy, language_rows
from torch import Tensor, nn

from luthier.data.batch import Batch, pack
from luthier.engine.seams import plain
from luthier.errors import ModelError
from luthier.models.adapt.blocks import blocks_of
from luthier.models.attention import Memory
from luthier.models.policy import Policy
from luthier.models.recompute import Recomputed, recompute_blocks
from luthier.objectives import TABLE, Objective
from luthier.recipe import Adapter
from luthier.recipe import Objective as Settings

SFT, CLASSIFY = TABLE["sft"](Settings(), False), TABLE["classify"](Settings(type="classify"), False)
LORA = Adapter(lora_r=4, lora_alpha=8.0)
LANGUAGE = {
    "lora": LORA,
    "dora": Adapter(lora_r=4, lora_alpha=8.0, use_dora=True),
    "the last block": Adapter(lora_r=4, num_layers=1),
    "full": Adapter(type="full"),
    "bottleneck": Adapter(type="bottleneck", bottleneck_size=8),
    "prefix": Adapter(type="prefix", num_virtual_tokens=3),
    "prompt": Adapter(type="prompt", num_virtual_tokens=3),
}


def both(make: Callable[[], Policy], objective: Objective, batches: list[Batch], **options: Any) -> list[Tensor]:
    """The gradient with blocks as they were, then with those that are computed again."""
    policy, lanes = make(), options.pop("lanes", 1)
    policy.train()
    found = [gradient(policy, objective, batches, lanes=lanes)]
    recompute_blocks(policy.wrapped, **options)
    return [*found, gradient(policy, objective, batches, lanes=lanes)]


@pytest.mark.parametrize("kind", LANGUAGE)
@pytest.mark.parametrize("offload", [False, True])
def test_the_gradient_is_the_same_bit_for_bit(kind: str, offload: bool, tiny_llama: Path) -> None:
    batches = [pack(language_rows(shared=20), share_prefix=True), pack(language_rows()[:2])]
    one, two = both(lambda: language_policy(tiny_llama, LANGUAGE[kind]), SFT, batches, offload=offload)
    assert one.norm() > 1e-3
    assert torch.equal(one, two)


def test_so_it_is_in_lanes_and_on_an_encoder(tiny_llama: Path, tiny_bert: Path) -> None:
    batches = [batch_maker(language_rows())([number]) for number in range(6)]
    assert torch.equal(*both(lambda: language_policy(tiny_llama), SFT, batches, lanes=2))
    labelled = [pack(language_rows(90), {"label": np.array([0, 1, 2, 0, 1, 2]), "row_weight": np.ones(6, np.float32)})]
    assert torch.equal(*both(lambda: class_policy(tiny_bert, LORA), CLASSIFY, labelled))


def test_dropout_draws_alike_again(tiny_llama: Path) -> None:
    policy, batch = language_policy(tiny_llama, Adapter(lora_r=4, lora_dropout=0.5)), pack(language_rows())
    policy.train()
    torch.manual_seed(0)
    one = gradient(policy, SFT, [batch])
    recompute_blocks(policy.wrapped, draws=True)
    torch.manual_seed(0)
    assert torch.equal(gradient(policy, SFT, [batch]), one)


def kept(policy: Policy, batch: Batch) -> int:
    """Numbers that the graph of a forward pass keeps, each tensor's storage once, parameters apart."""
    seen: dict[int, Tensor] = {}
    own = {p.untyped_storage().data_ptr() for p in policy.wrapped.parameters()}

    def pack_it(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack_it, lambda tensor: tensor):
        SFT.score(policy, batch)
    return sum(tensor.untyped_storage().nbytes() for key, tensor in seen.items() if key not in own)


def test_less_is_kept(tiny_llama: Path) -> None:
    policy, batch = language_policy(tiny_llama), pack(language_rows())
    before = kept(policy, batch)
    recompute_blocks(policy.wrapped)
    assert kept(policy, batch) < before / 3


def test_blocks_run_twice_where_there_is_a_gradient_and_once_elsewhere(tiny_llama: Path) -> None:
    policy, batch, seen = language_policy(tiny_llama), pack(language_rows()), []
    block: Any = blocks_of(policy.wrapped)[0]
    block.register_forward_pre_hook(lambda *_: seen.append("called"))
    block.mlp.register_forward_pre_hook(lambda *_: seen.append("ran"))
    recompute_blocks(policy.wrapped)
    plain(policy, SFT, batch, {"nll": 1.0}, policy.trainable())
    assert (seen.count("called"), seen.count("ran")) == (1, 2)
    seen.clear()
    with policy.evaluating():
        policy.logprobs(batch)
    assert seen.count("ran") == 1


def test_keys_and_values_are_recorded_once(tiny_llama: Path) -> None:
    policy, batch = language_policy(tiny_llama), pack(language_rows())
    recompute_blocks(policy.wrapped)
    recorded = []

    class Counting(Memory):
        def record(self, layer: int, key: Tensor, value: Tensor) -> None:
            recorded.append(layer)
            super().record(layer, key, value)

    memory = Counting(batch.segments, batch.leaves, 200)
    torch.autograd.grad(policy.hidden(batch, memory=memory).sum(), list(policy.trainable().values()))
    assert recorded == [0, 1]


def test_what_a_thread_was_told_is_told_again() -> None:
    told: ContextVar[float] = ContextVar("told", default=0.0)
    weight = nn.Parameter(torch.tensor([2.0]))
    block = Recomputed(lambda x: (x * weight * told.get()).exp(), False, False)
    token = told.set(3.0)
    out = block(torch.tensor([0.1]))
    told.reset(token)
    (slope,) = torch.autograd.grad(out.sum(), [weight])
    assert float(slope) == pytest.approx(0.3 * float(torch.tensor(0.6).exp()))


def test_a_model_without_a_list_of_blocks_is_an_error(tiny_llama: Path) -> None:
    policy = language_policy(tiny_llama)
    policy.wrapped.config.num_hidden_layers = 7
    with pytest.raises(ModelError, match=r"train\.gradient_checkpointing.*no one list.*`false`"):
        recompute_blocks(policy.wrapped)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_states_wait_in_page_locked_memory(tiny_llama: Path) -> None:
    policy, batch = language_policy(tiny_llama), pack(language_rows()).to("cuda")
    policy.wrapped.cuda()
    one = gradient(policy, SFT, [batch])
    recompute_blocks(policy.wrapped, offload=True)
    torch.testing.assert_close(gradient(policy, SFT, [batch]), one)


def test_short_micro_batches_may_be_kept_whole(tiny_llama: Path) -> None:
    policy, rows = language_policy(tiny_llama), language_rows()
    short, long = pack(rows[:1]), pack(rows)
    policy.train()
    whole = [kept(policy, short), kept(policy, long)]
    before = gradient(policy, SFT, [short, long])
    recompute_blocks(policy.wrapped, above=len(short.ids_T))
    assert kept(policy, short) == whole[0]
    assert kept(policy, long) < whole[1] / 3
    assert torch.equal(before, gradient(policy, SFT, [short, long]))
