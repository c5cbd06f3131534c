"""Distillation against formulas written out: whole vocabulary in one piece, one row at a time, in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factory import write_tiny_llama
from policies import RowsInMemory, distance, files_of, gradient, language_policy, language_rows
from torch import Tensor

from luthier.data.batch import pack
from luthier.data.forest import Row
from luthier.data.stream import packed, with_targets
from luthier.models import losses_chunked
from luthier.models.load import load_base
from luthier.models.policy import Policy
from luthier.models.teacher import Likeliest, taught
from luthier.objectives import TABLE, Objective
from luthier.recipe import Adapter
from luthier.recipe import Objective as Settings

FULL = Adapter(type="full")
WAYS: dict[str, dict[str, Any]] = {
    "forward_kl": {"divergence": "forward_kl"},
    "forward_kl, warm": {"divergence": "forward_kl", "temperature": 2.0},
    "reverse_kl": {"divergence": "reverse_kl"},
    "js": {"divergence": "js"},
    "js, 0.2, warm": {"divergence": "js", "jsd_beta": 0.2, "temperature": 1.5},
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    policy = load_base(files_of(write_tiny_llama(tmp_path_factory.mktemp("teacher") / "llama", seed=5)))
    policy.wrapped.to(torch.float64)
    return policy


def objective(teacher: Policy | None, **settings: Any) -> Objective:
    return TABLE["distill"](Settings(type="distill", **settings), False, teacher=teacher)


def eager(p: Tensor, q: Tensor, divergence: str = "forward_kl", jsd_beta: float = 0.5) -> Tensor:
    """Of a teacher's probabilities p and the policy's q, by the definition."""
    if divergence == "forward_kl":
        return (p * (p / q).log()).sum(-1)
    if divergence == "reverse_kl":
        return (q * (q / p).log()).sum(-1)
    m = jsd_beta * p + (1 - jsd_beta) * q
    return jsd_beta * (p * (p / m).log()).sum(-1) + (1 - jsd_beta) * (q * (q / m).log()).sum(-1)


def eager_gradient(
    policy: Policy, teacher: Policy, rows: list[Row], top_k: int | None = None, temperature: float = 1.0, **way: Any
) -> Tensor:
    total, units = torch.zeros((), dtype=torch.float64), sum(float(row.weights[1:].sum()) for row in rows)
    for row in rows:
        batch = pack([row])
        p, q = (torch.softmax(each.vocab_logits(each.hidden(batch)[:-1]) / temperature, -1)
                for each in (teacher, policy))  # fmt: skip
        p = p.detach()
        if top_k is not None:
            ids = p.topk(top_k).indices
            p, q = (torch.cat([each.gather(1, ids), 1 - each.gather(1, ids).sum(1, keepdim=True)], 1)
                    for each in (p, q))  # fmt: skip
        total = total + (temperature**2 * eager(p, q, **way) * torch.from_numpy(row.weights[1:])).sum() / units
    found = torch.autograd.grad(total, list(policy.trainable().values()))
    return torch.cat([part.flatten() for part in found])


@pytest.mark.parametrize("adapter", [Adapter(lora_r=4, lora_alpha=8.0), FULL], ids=["frozen head", "trained head"])
@pytest.mark.parametrize("way", WAYS)
def test_gradients_equal_the_formula(
    way: str, adapter: Adapter, tiny_llama: Path, teacher: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses_chunked, "CHUNK", 7)
    rows = [Row(r.ids, r.weights * np.float32(0.5 + r.number), r.number) for r in language_rows(shared=20)]
    policy = language_policy(tiny_llama, adapter)
    found = gradient(policy, objective(teacher, **WAYS[way]), [pack(rows, share_prefix=True)])
    assert distance(eager_gradient(policy, teacher, rows, **WAYS[way]), found) < 1e-6


@pytest.mark.parametrize("way", WAYS)
def test_the_loss_in_plain_numbers(way: str, tiny_llama: Path, teacher: Policy) -> None:
    """Without the model, whose norms work in float32: 1e-10."""
    settings = dict(WAYS[way])
    temperature = settings.pop("temperature", 1.0)
    draw = torch.Generator().manual_seed(0)
    hidden, head = (torch.randn(n, 8, generator=draw, dtype=torch.float64) for n in (11, 30))
    taught_nV = torch.randn(11, 30, generator=draw, dtype=torch.float64)
    scorer = objective(None, **WAYS[way]).score

    def of_logits(rows: slice, logits: Tensor) -> Tensor:
        pair = (torch.log_softmax(each / temperature, 1) for each in (taught_nV[rows], logits))
        return scorer.keywords["divergence"](*pair) * temperature**2  # type: ignore[attr-defined]

    for frozen in (True, False):
        leaves = [hidden.clone().requires_grad_(), head.clone().requires_grad_(not frozen)]
        ours = losses_chunked.from_logits(*leaves, None, of_logits)
        p, q = torch.softmax(taught_nV / temperature, 1), torch.softmax(leaves[0] @ leaves[1].T / temperature, 1)
        plain = eager(p, q, **settings) * temperature**2
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)
        wanted = leaves[: 1 if frozen else 2]
        weight = torch.linspace(0.1, 2, 11, dtype=torch.float64)
        pairs = zip(torch.autograd.grad(ours, wanted, weight), torch.autograd.grad(plain, wanted, weight), strict=True)
        for a, b in pairs:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("frozen", [True, False])
def test_logits_exist_for_one_chunk_at_a_time(frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses_chunked, "CHUNK", 4)
    seen: list[tuple[slice, torch.Size]] = []

    def of_logits(rows: slice, logits: Tensor) -> Tensor:
        seen.append((rows, logits.shape))
        return logits.logsumexp(1)

    hidden, head = torch.randn(10, 3, requires_grad=True), torch.randn(7, 3, requires_grad=not frozen)
    losses_chunked.from_logits(hidden, head, None, of_logits).sum().backward()
    assert seen[:3] == [(slice(0, 4), (4, 7)), (slice(4, 8), (4, 7)), (slice(8, 10), (2, 7))]
    assert len(seen) == (3 if frozen else 6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("top_k", [None, 9])
def test_nothing_is_learnt_from_oneself(way: str, top_k: int | None, tiny_llama: Path, tmp_path: Path) -> None:
    policy, rows = language_policy(tiny_llama, dtype=torch.float32), language_rows(shared=20)
    batch = stored_batch(policy, rows, tmp_path, top_k, WAYS[way]) if top_k else pack(rows, share_prefix=True)
    own = objective(None if top_k else policy, **WAYS[way])
    assert own.score(policy, batch).terms["divergence"].abs().max() < 1e-5
    assert gradient(policy, own, [batch]).norm() < 1e-5


def stored_batch(teacher: Policy, rows: list[Row], folder: Path, k: int, way: dict[str, Any]) -> Any:
    memory = RowsInMemory(rows)
    how = Likeliest(k, way.get("temperature", 1.0))
    said = taught(lambda: teacher, memory, how, "key", folder, budget=60)
    (batch,) = with_targets(packed(memory, 10_000, share_prefix=True), memory, said)(range(len(rows)))
    return batch


@pytest.mark.parametrize("way", WAYS)
def test_stored_logits_equal_the_formula_with_one_bucket(
    way: str, tiny_llama: Path, teacher: Policy, tmp_path: Path
) -> None:
    rows, policy = language_rows(shared=20), language_policy(tiny_llama)
    batch = stored_batch(teacher, rows, tmp_path, 9, WAYS[way])
    found = gradient(policy, objective(None, **WAYS[way]), [batch])
    assert distance(eager_gradient(policy, teacher, rows, 9, **WAYS[way]), found) < 1e-5


def test_buckets_never_exceed_the_whole_divergence(tiny_llama: Path, teacher: Policy, tmp_path: Path) -> None:
    """Merging outcomes can only lose information; nearly all outcomes lose nearly none."""
    rows, policy = language_rows(), language_policy(tiny_llama)
    whole = objective(teacher).score(policy, pack(rows)).terms["divergence"]
    few, most = (
        objective(None).score(policy, stored_batch(teacher, rows, tmp_path, k, {})).terms["divergence"]
        for k in (5, 398)
    )
    assert (few < whole).all()
    torch.testing.assert_close(most, whole, rtol=1e-4, atol=1e-4)


def test_the_teacher_is_asked_once(tiny_llama: Path, teacher: Policy, tmp_path: Path) -> None:
    rows, asked = RowsInMemory(language_rows()), []

    def load() -> Policy:
        asked.append(1)
        return teacher

    first, second = (taught(load, rows, Likeliest(4), "key", tmp_path, budget=60) for _ in "ab")
    assert len(asked) == 1
    assert first["teacher_ids"].shape == (sum(int(r.weights[1:].sum()) for r in rows.rows), 4)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert np.allclose(np.exp(first["teacher_logprobs"]).sum(1), 1, atol=1e-5)
    taught(load, rows, Likeliest(4), "other weights", tmp_path, budget=60)
    taught(load, rows, Likeliest(4, temperature=2.0), "key", tmp_path, budget=60)
    assert len(asked) == 3
