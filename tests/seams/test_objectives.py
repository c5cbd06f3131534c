"""What every objective promises, whatever it computes."""

from __future__ import annotations

import pytest
from policies import distance, gradient, objective_cases

CASES = objective_cases()
CLOSE = 1e-6
"""In float64; normalisation layers work in float32 inside."""


@pytest.mark.parametrize("name", CASES)
def test_splitting_a_step_into_micro_batches_leaves_the_gradient_unchanged(name: str, tiny_llama, tiny_bert) -> None:
    policy, objective, make = CASES[name](tiny_llama, tiny_bert)
    whole, parts = (
        gradient(policy, objective, [make(range(6))]),
        gradient(policy, objective, [make([i]) for i in range(6)]),
    )
    assert distance(whole, parts) < CLOSE
    assert whole.norm() > 1e-6


@pytest.mark.parametrize("name", CASES)
def test_scaling_all_weights_leaves_the_gradient_unchanged(name: str, tiny_llama, tiny_bert) -> None:
    policy, objective, make = CASES[name](tiny_llama, tiny_bert)
    plain, scaled = (gradient(policy, objective, [make(range(6), scale)]) for scale in (1.0, 4.0))
    assert distance(plain, scaled) < CLOSE


@pytest.mark.parametrize("name", CASES)
def test_rows_of_zero_weight_give_no_gradient(name: str, tiny_llama, tiny_bert) -> None:
    policy, objective, make = CASES[name](tiny_llama, tiny_bert)
    three = gradient(policy, objective, [make(range(3))])
    six = gradient(policy, objective, [make(range(6), [1, 1, 1, 0, 0, 0])])
    assert distance(three, six) < CLOSE


@pytest.mark.parametrize("name", CASES)
def test_terms_have_one_value_a_row_and_units(name: str, tiny_llama, tiny_bert) -> None:
    policy, objective, make = CASES[name](tiny_llama, tiny_bert)
    batch = make(range(6))
    terms = objective.score(policy, batch).terms
    assert set(terms) == set(objective.units)
    assert all(term.shape == (batch.rows,) for term in terms.values())
    units = objective.count(batch).values()
    assert min(units) >= 0 < max(units)
