"""Every family that is said to be tunable computes in packs, and while decoding, what transformers computes of each
row alone with the family's own eager attention; and so do the gradients of an adapter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from families import config
from policies import distance
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM

from luthier.data.batch import Batch, pack
from luthier.data.forest import Row
from luthier.models import attention
from luthier.models.adapt.lora import add_lora
from luthier.models.attention import Memory, ancestry
from luthier.models.families import DECODERS, ENCODERS, packs, width_and_depth
from luthier.models.load import _policy
from luthier.models.policy import Policy
from luthier.recipe import Adapter

CLOSE = 1e-8


@contextlib.contextmanager
def all_in_float64() -> Iterator[None]:
    """Here `torch.float32` is float64: what families compute in float32, such as norms, softmax and rotations, is
    computed in float64 on both sides, so that nothing has to be forgiven for its rounding."""
    kept = torch.float32, torch.float, Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.float32 = torch.float = torch.float64  # type: ignore[misc]
    Tensor.float = Tensor.double  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.float32, torch.float, Tensor.float = kept  # type: ignore[misc, method-assign]
        torch.set_default_dtype(torch.float32)


@pytest.fixture(autouse=True)
def exactly() -> Iterator[None]:
    with all_in_float64():
        yield


def rows() -> list[Row]:
    """Two rows that begin alike, with one between them in length that does not; longer than every window."""
    draw = np.random.default_rng(0)
    start = draw.integers(5, 60, 10)
    parts = [np.r_[start, draw.integers(5, 60, 4)], np.r_[start, draw.integers(5, 60, 9)], draw.integers(5, 60, 16)]
    return [Row(ids, np.r_[np.zeros(10), np.ones(len(ids) - 10)].astype(np.float32), i) for i, ids in enumerate(parts)]


@cache
def models(family: str) -> tuple[Any, Policy]:
    """A random model of the family with LoRA, in transformers' and PEFT's plain way, and the same as a policy."""
    from peft import LoraConfig, get_peft_model

    attention.register()
    kind: Any = AutoModelForCausalLM if family in DECODERS else AutoModel
    task = "CAUSAL_LM" if family in DECODERS else "FEATURE_EXTRACTION"
    torch.manual_seed(0)
    plain = kind.from_config(config(family), attn_implementation="eager")
    plain = get_peft_model(plain, LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", task_type=task))
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.1) + (parameter.ndim < 2))
    own = kind.from_config(config(family), attn_implementation=attention.NAME if packs(family) else None)
    policy = _policy(own, "decoder" if family in DECODERS else "encoder")
    policy.wrapped = add_lora(policy.wrapped, Adapter(lora_r=2, lora_alpha=4.0), task)
    policy.wrapped.load_state_dict(plain.state_dict())
    policy.train()
    return plain.eval(), policy


def own_places(batch: Batch) -> list[Tensor]:
    """Where in the pack each row lies."""
    leaves = [batch.segments[leaf] for leaf in batch.leaves]
    return [torch.cat([torch.arange(*span) for span in ancestry(batch.segments, leaf)]) for leaf in leaves]


def alone(plain: Any, row: Row) -> Tensor:
    """Logits (L, V) of a decoder, states (L, H) of an encoder."""
    options = {"use_cache": False} if hasattr(plain.config, "use_cache") else {}
    out = plain(input_ids=torch.from_numpy(row.ids)[None], **options)
    return out.logits[0] if hasattr(out, "logits") else out.last_hidden_state[0]


def agree(found: Tensor, wanted: Tensor) -> None:
    assert found.dtype == wanted.dtype == torch.float64
    assert distance(wanted, found) < CLOSE


CASES = [(family, False) for family in sorted(ENCODERS | DECODERS)] + [(family, True) for family in sorted(DECODERS)]


@pytest.mark.parametrize(("family", "share_prefix"), CASES)
def test_packs_are_rows_alone(family: str, share_prefix: bool) -> None:
    plain, policy = models(family)
    batch = pack(rows(), share_prefix=share_prefix)
    assert len(batch.segments) == (4 if share_prefix else 3)
    with policy.evaluating():
        hidden = policy.hidden(batch)
        for row, place in zip(rows(), own_places(batch), strict=True):
            wanted = alone(plain, row)
            agree(policy.vocab_logits(hidden[place]) if family in DECODERS else hidden[place], wanted)


@pytest.mark.parametrize(("family", "share_prefix"), CASES)
def test_gradients_of_packs_are_those_of_rows_alone(family: str, share_prefix: bool) -> None:
    plain, policy = models(family)
    batch = pack(rows(), share_prefix=share_prefix)
    if family in DECODERS:
        ours = (policy.logprobs(batch) * batch.weight_N).sum()
        theirs = sum((likelihoods(alone(plain, row), row) * torch.from_numpy(row.weights[1:])).sum() for row in rows())
    else:
        hidden = policy.hidden(batch)
        ours = sum(hidden[place].sin().sum() for place in own_places(batch))
        theirs = sum(alone(plain, row).sin().sum() for row in rows())
    agree(adapter_gradient(ours, policy.wrapped), adapter_gradient(theirs, plain))


def likelihoods(logits: Tensor, row: Row) -> Tensor:
    return torch.log_softmax(logits[:-1], -1).gather(1, torch.from_numpy(row.ids)[1:, None])[:, 0]


def adapter_gradient(loss: Any, model: Any) -> Tensor:
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, learnt, allow_unused=True, materialize_grads=True)
    return torch.cat([one.flatten() for one in found])


@pytest.mark.parametrize("family", sorted(DECODERS))
def test_decoding_is_recomputation(family: str) -> None:
    plain, policy = models(family)
    texts = [row.ids.tolist() for row in rows()]
    batch = pack(rows(), share_prefix=True)
    memory = Memory(batch.segments, batch.leaves, max(map(len, texts)) + 3)
    with policy.evaluating():
        states = policy.hidden(batch, memory=memory)[batch.last_R]
        for step in range(3):
            for text, found in zip(texts, policy.vocab_logits(states), strict=True):
                agree(found, alone(plain, Row(np.array(text), np.zeros(len(text)), 0))[-1])
            if step == 1:
                memory.keep([0, 2])
                texts = [texts[0], texts[2]]
            texts = [[*text, 7 + step] for text in texts]
            states = policy.step(torch.full((len(texts),), 7 + step), memory)


@pytest.mark.parametrize("family", sorted(DECODERS | ENCODERS))
def test_width_and_depth_are_found(family: str) -> None:
    assert width_and_depth(config(family).to_dict()) == (32, 2)
