"""The losses of GRPO and PPO against their formulas, written out for one token and one row at a time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policies import batch_maker, distance, drawn_columns, files_of, gradient, language_rows, value_policy
from torch import Tensor

from luthier.models.load import save_policy
from luthier.objectives import TABLE, Objective
from luthier.recipe import Objective as Settings

EPSILON, KL, VF, HEAT = 0.2, 0.3, 0.5, 0.8


def objective(name: str = "ppo", **settings: Any) -> Objective:
    given = {"epsilon": EPSILON, "kl_coef": KL, "temperature": HEAT, **({"vf_coef": VF} if name == "ppo" else {})}
    return TABLE[name](Settings(type=name, **given | settings), False)  # type: ignore[arg-type]


def token_loss(logp: Tensor, value: Tensor, old: float, reference: float, advantage: float, target: float) -> Tensor:
    """One token, as the papers have it; math.exp of plain numbers wherever nothing is learnt."""
    ratio = torch.exp(logp) / math.exp(old)
    inside = min(max(ratio.item(), 1 - EPSILON), 1 + EPSILON)
    policy = -ratio * advantage if ratio.item() * advantage <= inside * advantage else -torch.tensor(inside * advantage)
    x = math.exp(reference) / torch.exp(logp)
    return policy + KL * (x - 1 - torch.log(x)) + VF * (value - target) ** 2 / 2


def exact_norm(self: Any, x: Tensor) -> Tensor:
    """Llama's, without its detour through float32."""
    return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon)


def test_gradients_equal_those_of_the_formulas_row_by_row(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    monkeypatch.setattr(LlamaRMSNorm, "forward", exact_norm)
    policy, rows = value_policy(tiny_llama), language_rows(shared=20)
    columns = drawn_columns(rows)
    save_policy(policy, tmp_path, files_of(tiny_llama))
    batch = batch_maker(rows, {}, True, columns)(range(len(rows)))
    ours = gradient(policy, objective(), [batch])

    plain: Any = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float64)
    plain = PeftModel.from_pretrained(plain, tmp_path, is_trainable=True).double()
    with torch.no_grad():  # the file holds float32
        for parameter, own in zip(
            (p for p in plain.parameters() if p.requires_grad), policy.trainable().values(), strict=False
        ):
            parameter.copy_(own)
    head = torch.nn.Linear(32, 1).double()
    head.load_state_dict(policy.value_head.state_dict())  # type: ignore[union-attr]
    tokens = sum(float(row.weights.sum()) for row in rows)
    for row in rows:
        ids, known = (
            torch.from_numpy(row.ids),
            [columns[name][row.number] for name in ("old_logp", "reference_logp", "advantage", "return")],
        )
        hidden = plain.base_model.model.model(input_ids=ids[None]).last_hidden_state[0]
        logp = torch.log_softmax(hidden @ plain.get_output_embeddings().weight.T / HEAT, 1)
        losses = [
            token_loss(logp[t - 1, ids[t]], head(hidden[t - 1] / 32**0.5)[0], *(float(values[t]) for values in known))
            for t in np.flatnonzero(row.weights)
        ]
        (torch.stack(losses).sum() / tokens).backward()
    theirs = [p.grad for p in (*plain.parameters(), *head.parameters()) if p.requires_grad]
    assert distance(torch.cat([g.flatten() for g in theirs]), ours) < 1e-8


def test_at_the_weights_that_drew_the_tokens_the_gradient_is_that_of_the_plain_policy_gradient(
    tiny_llama: Path,
) -> None:
    policy, rows = value_policy(tiny_llama), language_rows()
    columns = drawn_columns(rows)
    del columns["old_logp"]
    batch = batch_maker(rows, {}, False, columns)(range(len(rows)))
    one = objective("grpo", kl_coef=0.0)
    scored = one.score(policy, batch)
    found = gradient(policy, one, [batch])
    (-(policy.logprobs(batch, temperature=HEAT) * batch.target_column("advantage")).sum() / len(batch.row_N)).backward()
    plain = torch.cat([p.grad.flatten() for p in policy.trainable().values() if p.grad is not None])
    assert distance(plain, found) < 1e-12
    assert not scored.metrics["clipped"].any()
    assert float(scored.metrics["entropy"].mean()) > 0


def test_only_what_would_gain_from_going_further_is_clipped(tiny_llama: Path) -> None:
    policy, rows = value_policy(tiny_llama), language_rows(rows=1)
    columns = drawn_columns(rows)
    batch = batch_maker(rows, {}, False, columns)([0])
    logp = policy.logprobs(batch).detach()
    shift = torch.tensor([1.0, -1.0] * len(logp))[: len(logp)]
    for advantage, clipped in ((1.0, shift > 0), (-1.0, shift < 0)):
        batch.target_columns.update(old_logp=logp - shift, advantage=torch.full_like(logp, advantage))
        scored = objective("grpo", kl_coef=0.0, temperature=1.0).score(policy, batch)
        assert torch.equal(scored.metrics["clipped"], clipped)


def test_the_penalty_is_zero_at_the_reference_and_positive_elsewhere(tiny_llama: Path) -> None:
    policy, rows = value_policy(tiny_llama), language_rows()
    batch = batch_maker(rows, {}, False, drawn_columns(rows))(range(6))
    assert bool((objective().score(policy, batch).metrics["kl"] > 0).all())
    batch.target_columns["reference_logp"] = policy.logprobs(batch, temperature=HEAT).detach()
    scored = objective().score(policy, batch)
    assert scored.terms["penalty"].tolist() == [0.0] * 6


def test_there_is_a_term_for_what_is_asked_for() -> None:
    assert set(objective("grpo", kl_coef=0.0).units) == {"policy"}
    assert set(objective("grpo").units) == {"policy", "penalty"}
    assert set(objective("ppo").units) == {"policy", "penalty", "value"}
