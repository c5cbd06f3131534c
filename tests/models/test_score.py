"""How likely rows are: sums over their targets, whoever they are packed with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from policies import files_of, language_rows
from transformers import AutoModelForCausalLM

from luthier.data.forest import Row
from luthier.models.load import load_base
from luthier.models.policy import Policy
from luthier.models.score import row_nll


class Rows:
    """Rows of which the second has no target, and the third counts double."""

    def __init__(self) -> None:
        self.rows = language_rows(shared=20)
        for number, factor in ((1, 0), (2, 2)):
            row = self.rows[number]
            self.rows[number] = Row(row.ids, row.weights * np.float32(factor), number)
        self.lengths = np.array([len(row.ids) for row in self.rows])

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int, /) -> tuple[np.ndarray, np.ndarray]:
        return self.rows[index].ids, self.rows[index].weights


@pytest.fixture(scope="module")
def policy(tiny_llama: Path) -> Policy:
    return load_base(files_of(tiny_llama))


def test_each_row_has_the_sum_over_its_weighted_targets(policy: Policy, tiny_llama: Path) -> None:
    reference = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    rows = Rows()
    nll, weight = row_nll(policy, rows, 60)
    for number, row in enumerate(rows.rows):
        ids, counts = torch.from_numpy(row.ids), torch.from_numpy(row.weights[1:])
        with torch.no_grad():
            scores = torch.log_softmax(reference(ids[None]).logits[0, :-1], -1).gather(1, ids[1:, None])[:, 0]
        assert nll[number] == pytest.approx(float(-(scores * counts).sum()), rel=1e-5)
        assert weight[number] == float(counts.sum())


def test_a_row_without_targets_has_nothing_and_is_no_nan(policy: Policy) -> None:
    nll, weight = row_nll(policy, Rows(), 60)
    assert (nll[1], weight[1]) == (0, 0)
    assert np.isfinite(nll).all()
    assert [found.tolist() for found in row_nll(policy, Rows(), 60, numbers=[1])] == [[0.0], [0.0]]


@pytest.mark.parametrize("share_prefix", [False, True])
@pytest.mark.parametrize("budget", [1, 60, 1000])
def test_packing_changes_nothing(policy: Policy, share_prefix: bool, budget: int) -> None:
    alone, _ = row_nll(policy, Rows(), 1, share_prefix=False)
    found, _ = row_nll(policy, Rows(), budget, share_prefix)
    np.testing.assert_allclose(found, alone, rtol=1e-5)


def test_chosen_rows_in_the_order_of_choice(policy: Policy) -> None:
    nll, weight = row_nll(policy, Rows(), 60)
    seen: list[tuple[int, int]] = []
    some, counted = row_nll(policy, Rows(), 40, numbers=[4, 0, 2], progress=lambda *at: seen.append(at))
    np.testing.assert_allclose(some, nll[[4, 0, 2]], rtol=1e-5)
    assert counted.tolist() == weight[[4, 0, 2]].tolist()
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_no_gradient_is_kept(policy: Policy) -> None:
    policy.wrapped.requires_grad_(True)
    row_nll(policy, Rows(), 60)
    assert all(parameter.grad is None for parameter in policy.wrapped.parameters())
    policy.wrapped.requires_grad_(False)
