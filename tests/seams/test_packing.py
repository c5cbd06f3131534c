"""Packed rows equal rows alone, and rows alone equal transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from policies import distance, files_of, gradient, language_policy, language_rows, objective_cases
from transformers import AutoModel, AutoModelForCausalLM

from luthier.data.batch import cut, pack, spread
from luthier.data.forest import Row, shared_tokens
from luthier.data.stream import packed
from luthier.models.load import load_base, save_policy
from luthier.models.sample import sample
from luthier.objectives import TABLE
from luthier.recipe import Objective as Settings

SFT = TABLE["sft"](Settings(), False)


@pytest.mark.parametrize("share_prefix", [False, True])
def test_packed_logits_equal_transformers_row_by_row(tiny_llama: Path, share_prefix: bool) -> None:
    policy = load_base(files_of(tiny_llama))
    reference = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    rows = language_rows(shared=20)
    batch = pack(rows, share_prefix=share_prefix)
    assert (batch.segments[1].parent == 0) is share_prefix
    with policy.evaluating():
        found = policy.logprobs(batch)
        for row in rows:
            ids = torch.from_numpy(row.ids)
            scores = torch.log_softmax(reference(ids[None]).logits[0, :-1], -1).gather(1, ids[1:, None])[:, 0]
            own = found[batch.row_N == row.number]
            torch.testing.assert_close(own, scores[torch.from_numpy(row.weights[1:] > 0)], rtol=1e-5, atol=1e-5)


def test_packed_encoder_states_equal_transformers_row_by_row(tiny_bert: Path) -> None:
    policy = load_base(files_of(tiny_bert))
    reference = AutoModel.from_pretrained(tiny_bert, dtype=torch.float32, add_pooling_layer=False).eval()
    rows = language_rows(90)
    with policy.evaluating():
        pooled = policy.pooled(pack(rows))
        for row in rows:
            alone = reference(torch.from_numpy(row.ids)[None]).last_hidden_state[0].mean(0)
            torch.testing.assert_close(pooled[row.number], alone, rtol=1e-5, atol=1e-5)


def test_adapter_gradients_equal_a_plain_peft_run(tiny_llama: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    policy = language_policy(tiny_llama, dtype=torch.float32)
    rows = language_rows(shared=20)
    save_policy(policy, tmp_path, files_of(tiny_llama))
    ours = gradient(policy, SFT, packed_rows(rows, 1000, True))
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama), tmp_path, is_trainable=True)
    units = sum(float(row.weights.sum()) for row in rows)
    for row in rows:
        ids = torch.from_numpy(row.ids)
        scores = torch.log_softmax(plain(ids[None]).logits[0, :-1], -1).gather(1, ids[1:, None])[:, 0]
        (-(scores * torch.from_numpy(row.weights[1:])).sum() / units).backward()
    theirs = torch.cat([p.grad.flatten() for p in plain.parameters() if p.requires_grad])
    assert distance(theirs, ours) < 1e-5


@pytest.mark.parametrize("budget", [30, 60, 1000])
def test_micro_batches_do_not_change_the_gradient_in_float32(tiny_llama: Path, budget: int) -> None:
    exact = gradient(language_policy(tiny_llama), SFT, packed_rows(language_rows(shared=20), 1000, False))
    policy = language_policy(tiny_llama, dtype=torch.float32)
    for share in (False, True):
        assert (
            distance(exact, gradient(policy, SFT, packed_rows(language_rows(shared=20), budget, share)).double()) < 1e-5
        )


def test_lanes_do_not_change_the_gradient(tiny_llama: Path) -> None:
    rows, threads = language_rows(shared=20), torch.get_num_threads()
    exact = gradient(language_policy(tiny_llama), SFT, packed_rows(rows, 1000, False))
    policy = language_policy(tiny_llama, dtype=torch.float32)
    batches = packed_rows(rows, 1000, True, lanes=2)
    assert len(batches) == 2
    first, second = (gradient(policy, SFT, batches, lanes=2) for _ in "ab")
    assert torch.equal(first, second)
    assert distance(exact, first.double()) < 1e-5
    assert torch.get_num_threads() == threads


def test_two_runs_with_one_seed_are_equal_bit_for_bit(tiny_llama: Path, tiny_bert: Path) -> None:
    for case in objective_cases().values():
        first, second = (gradient(p, o, [make(range(6))]) for p, o, make in (case(tiny_llama, tiny_bert) for _ in "ab"))
        assert torch.equal(first, second)


def test_a_target_inside_the_common_beginning_is_not_shared() -> None:
    rows = language_rows(shared=20)
    learnt = [
        Row(r.ids, np.where(np.arange(len(r.ids)) == 10, 1, r.weights).astype(np.float32), r.number) for r in rows
    ]
    assert shared_tokens(rows[0], rows[1]) == 20
    assert shared_tokens(learnt[0], learnt[1]) == 10
    assert pack(learnt, share_prefix=True).weight_N.sum() == sum(r.weights.sum() for r in learnt)


def test_a_row_that_begins_another_keeps_a_token_of_its_own() -> None:
    ids = np.arange(30)
    rows = [Row(ids[:n], np.zeros(n, np.float32), i) for i, n in enumerate((20, 30))]
    assert shared_tokens(*rows) == 19


def test_rows_that_share_at_several_depths_equal_transformers(tiny_llama: Path) -> None:
    draw = np.random.default_rng(0)
    system, questions = draw.integers(0, 90, 12), [draw.integers(0, 90, 10) for _ in range(3)]
    rows = [
        Row(
            np.concatenate([system, question, draw.integers(0, 90, 3 + i)]),
            np.r_[np.zeros(22), np.ones(3 + i)],
            4 * q + i,
        )
        for q, question in enumerate(questions)
        for i in range(4)
    ]  # fmt: skip
    batch = pack(rows, share_prefix=True)
    assert len(batch.segments) == 1 + 3 + 12
    assert len(batch.ids_T) == 12 + 3 * 10 + sum(len(row.ids) - 22 for row in rows)
    assert batch.tokens == sum(len(row.ids) for row in rows)
    policy = load_base(files_of(tiny_llama))
    with policy.evaluating():
        together, alone = policy.logprobs(batch), torch.cat([policy.logprobs(pack([row])) for row in rows])
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
        prompts = [row.ids.tolist() for row in rows]
        answers = sample(policy, prompts, max_new_tokens=4, stop_ids=[])
        assert answers == [sample(policy, [prompt], max_new_tokens=4, stop_ids=[])[0] for prompt in prompts]


def test_cutting_keeps_order_and_budget() -> None:
    assert cut([5, 5, 5, 30, 1, 1], 10) == [[0, 1], [2], [3], [4, 5]]
    assert cut([], 10) == []


def test_rows_are_dealt_evenly_within_the_budget() -> None:
    assert spread([5, 5, 5, 5], 100, 2) == [[0, 2], [1, 3]]
    assert spread([9, 1, 1, 1, 6], 10, 2) == [[0], [1, 2, 3, 4]]
    assert spread([6, 6, 6], 10, 2) == [[0], [1], [2]]
    assert spread([30, 1, 1], 10, 2) == [[0], [1, 2]]
    assert spread([7], 10, 4) == [[0]]


def packed_rows(rows: list[Row], budget: int, share: bool, lanes: int = 1):
    class Source:
        lengths = np.array([len(row.ids) for row in rows])

        def row(self, i: int):
            return rows[i].ids, rows[i].weights

    return packed(Source(), budget, share_prefix=share, lanes=lanes)(range(len(rows)))  # type: ignore[arg-type]
