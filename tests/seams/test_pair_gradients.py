"""Pairs that are packed and share their prompt, beside the formulas on one row at a time with transformers alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from policies import RowsInMemory, class_policy, distance, files_of, gradient, pair_columns, pair_rows, settled
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from luthier.data.batch import Batch
from luthier.data.forest import Row
from luthier.data.stream import packed
from luthier.models.load import make_policy
from luthier.models.policy import Policy
from luthier.models.score import over_rows, row_logprobs
from luthier.objectives import TABLE, Objective
from luthier.recipe import Adapter
from luthier.recipe import Objective as Settings

FULL = Adapter(type="full")
WEIGHT = np.repeat(np.array([1, 2, 0.5, 1, 1, 3], np.float32), 2)


def built(name: str, **settings: float) -> Objective:
    return TABLE[name](Settings(type=name, **settings), False)  # type: ignore[arg-type]


def batches(rows: list[Row], columns: dict[str, np.ndarray], budget: int = 200) -> list[Batch]:
    made = packed(RowsInMemory(rows), budget, columns, share_prefix=True, together=2)(range(len(rows) // 2))
    assert all(batch.segments[1].parent == 0 for batch in made)
    return made


def wide_norms(model: nn.Module) -> None:
    """Norms in the weights' own precision, where transformers always takes float32."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ == "LlamaRMSNorm":
                wide = nn.RMSNorm(len(child.weight), eps=child.variance_epsilon)
                wide.weight = child.weight
                setattr(module, name, wide)


def plain(folder: Path, dtype: torch.dtype) -> nn.Module:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").to(dtype)
    wide_norms(model)
    return model


def logp_of(model: nn.Module, row: Row) -> Tensor:
    """The log-probability of a row's answer."""
    ids = torch.from_numpy(row.ids)[None]
    scores = torch.log_softmax(model(ids).logits[0, :-1], -1).gather(1, ids[0, 1:, None])[:, 0]
    return scores[torch.from_numpy(row.weights[1:] > 0)].sum()


def eager_dpo(model: nn.Module, rows: list[Row], reference: np.ndarray, beta: float, smoothing: float) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for u in range(0, len(rows), 2):
        log_ratio = logp_of(model, rows[u]) - logp_of(model, rows[u + 1])
        logits = beta * (log_ratio - (reference[u] - reference[u + 1]))
        loss = -F.logsigmoid(logits) * (1 - smoothing) - F.logsigmoid(-logits) * smoothing
        total = total + float(WEIGHT[u]) * loss
    return total / float(WEIGHT[::2].sum())


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-8), (torch.float32, 1e-5)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_dpo_equals_the_plain_formula(dtype: torch.dtype, close: float, smoothing: float, tiny_llama: Path) -> None:
    rows = pair_rows()
    columns = pair_columns(rows) | {"row_weight": WEIGHT}
    policy = settled(make_policy(files_of(tiny_llama), FULL), dtype)
    wide_norms(policy.wrapped)
    ours = gradient(policy, built("dpo", beta=0.3, label_smoothing=smoothing), batches(rows, columns, 80))
    model = plain(tiny_llama, torch.float64)
    eager_dpo(model, rows, columns["reference_logp"], 0.3, smoothing).backward()
    assert distance(flat(model), ours.double()) < close


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-8), (torch.float32, 1e-5)])
def test_reward_equals_the_plain_formula(dtype: torch.dtype, close: float, tiny_llama: Path) -> None:
    rows = pair_rows()
    policy = class_policy(tiny_llama, FULL, ("reward",), dtype)
    wide_norms(policy.wrapped)
    ours = gradient(policy, built("reward"), batches(rows, {"row_weight": WEIGHT}, 80))
    model, head = plain(tiny_llama, torch.float64), nn.Linear(32, 1).double()
    head.load_state_dict({name: value.double() for name, value in policy.head.linear.state_dict().items()})
    total = torch.zeros((), dtype=torch.float64)
    for u in range(0, len(rows), 2):
        chosen, rejected = (
            head(model.model(torch.from_numpy(rows[i].ids)[None]).last_hidden_state[0, -1])[0] for i in (u, u + 1)
        )
        total = total - float(WEIGHT[u]) * F.logsigmoid(chosen - rejected)
    (total / float(WEIGHT[::2].sum())).backward()
    assert distance(torch.cat([flat(model), flat(head)]), ours.double()) < close


def at_step_0(policy: Policy, rows: list[Row]) -> np.ndarray:
    return over_rows(policy, RowsInMemory(rows), 60, lambda batch: row_logprobs(policy, batch))


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_at_step_0_the_loss_of_every_pair_is_ln_2(dtype: torch.dtype, close: float, tiny_llama: Path) -> None:
    rows = pair_rows()
    policy = settled(make_policy(files_of(tiny_llama), FULL), dtype)
    wide_norms(policy.wrapped)
    columns = {"row_weight": np.ones(12, np.float32), "reference_logp": at_step_0(policy, rows)}
    for batch in batches(rows, columns):
        scored = built("dpo").score(policy, batch)
        own = batch.pairs(scored.terms["preference"])
        assert (own[:, 0] - math.log(2)).abs().max() < close
        assert not own[:, 1].any()
        assert scored.metrics["margin"].abs().max() < close


def test_the_log_probability_at_step_0_does_not_depend_on_weights(tiny_llama: Path) -> None:
    policy = settled(make_policy(files_of(tiny_llama), Adapter()), torch.float64)
    rows = pair_rows()
    double = [Row(row.ids, row.weights * np.float32(3), row.number) for row in rows]
    assert np.array_equal(at_step_0(policy, rows), at_step_0(policy, double))
