"""The last feed-forward layer is computed for the tokens whose states are read, and nothing that is read changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from policies import files_of
from torch import Tensor, nn

from luthier.data.batch import Batch, pack
from luthier.data.forest import Row
from luthier.models.adapt.blocks import blocks_of
from luthier.models.lean import LeanGate
from luthier.models.load import load_base, make_policy
from luthier.models.policy import Policy
from luthier.models.recompute import recompute_blocks
from luthier.recipe import Adapter

PROMPT, ANSWER = 12, 3


def rows() -> list[Row]:
    """Two answers to one prompt, whose last token both continue, and a row of its own."""
    draw = np.random.default_rng(0)
    prompt = draw.integers(3, 300, PROMPT)
    found = [np.concatenate([prompt, draw.integers(3, 300, ANSWER)]) for _ in range(2)]
    found.append(draw.integers(3, 300, PROMPT + ANSWER))
    weights = np.array([0.0] * PROMPT + [1.0] * ANSWER, np.float32)
    return [Row(ids, weights, number) for number, ids in enumerate(found)]


@pytest.fixture
def policy(tiny_llama: Path) -> Policy:
    found = make_policy(files_of(tiny_llama), Adapter(lora_r=2), seed=1)
    found.wrapped.to(torch.float64)
    with torch.no_grad():
        for parameter in found.trainable().values():
            parameter.normal_(std=0.1)
    return found


def tokens_seen(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """For each call of a feed-forward layer from here on, by block: the tokens that its gate multiplies."""
    seen: list[list[int]] = [[] for _ in blocks_of(policy.wrapped)]
    for own, block in zip(seen, blocks_of(policy.wrapped), strict=True):
        gate: nn.Module = block.mlp.gate_proj

        def watched(x: Tensor, own: list[int] = own, was: Callable[..., Tensor] = gate.forward) -> Tensor:
            own.append(x.shape[1])
            return was(x)

        monkeypatch.setattr(gate, "forward", watched)
    return seen


def all_asked(monkeypatch: pytest.MonkeyPatch, policy: Policy) -> None:
    for module in policy.wrapped.modules():
        if isinstance(module.forward, LeanGate):
            monkeypatch.setattr(module.forward, "last", False)


def of_tokens(policy: Policy, batch: Batch) -> list[Tensor]:
    logp = policy.logprobs(batch)
    return [logp, *torch.autograd.grad(logp.sin().sum(), list(policy.trainable().values()))]


@pytest.mark.parametrize("again", [False, True], ids=["kept", "recomputed"])
def test_what_is_read_and_its_gradient_are_the_same(
    policy: Policy, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if again:
        recompute_blocks(policy.wrapped)
    batch = pack(rows(), share_prefix=True)
    with monkeypatch.context() as patch:
        seen = tokens_seen(policy, patch)
        some = of_tokens(policy, batch)
    every, asked = len(batch.ids_T), len(batch.source_N.unique())
    assert asked < every / 2
    assert seen[:-1] == [[every] * (1 + again)] * (len(seen) - 1)
    assert seen[-1] == [asked] * (1 + again)
    all_asked(monkeypatch, policy)
    for one, other in zip(some, of_tokens(policy, batch), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_whoever_asks_for_all_states_has_them(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = pack(rows())
    with torch.no_grad():
        policy.logprobs(batch)
        found = policy.hidden(batch)
        all_asked(monkeypatch, policy)
        assert torch.equal(found, policy.hidden(batch))


def test_of_a_prompt_the_last_token_is_enough(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, batch = load_base(files_of(tiny_llama)), pack(rows())
    with monkeypatch.context() as patch, torch.no_grad():
        seen = tokens_seen(policy, patch)
        some = policy.pooled(batch)
    assert seen[-1] == [3]
    all_asked(monkeypatch, policy)
    with torch.no_grad():
        torch.testing.assert_close(some, policy.pooled(batch), rtol=1e-5, atol=1e-6)
