"""Tokens and operations are counted from the rows alone."""

from __future__ import annotations

import pytest
from harness.count import Model, amount, share_of_ceiling, shared
from harness.rows import Row, digest, stratified

MODEL = Model(trunk=1000, head=100)
ROW = Row({}, [1, 2, 3, 4, 5], [0, 0, 0, 1, 1])
PAIR = Row({}, [1, 2, 3, 7], [0, 0, 1, 1], Row({}, [1, 2, 3, 8, 9], [0, 0, 1, 1, 1]))


@pytest.mark.parametrize(("trained", "each"), [("adapter", 4), ("full", 6), ("head", 2), ("nothing", 2)])
def test_operations_for_each_weight_and_token(trained, each) -> None:
    found = amount([ROW, ROW], MODEL, trained)
    assert (found.rows, found.tokens, found.predicted) == (2, 10, 4)
    assert found.flop == each * (1000 * 10 + 100 * 4)


def test_a_pair_counts_its_prompt_once_and_the_reference_pass() -> None:
    found = amount([PAIR], MODEL, "adapter", reference=True)
    assert (found.of("pairs"), found.tokens, found.predicted) == (1, 9, 5)
    assert found.flop == (4 + 2) * (1000 * (9 - 2) + 100 * 5)


def test_nothing_is_shared_after_the_first_predicted_token() -> None:
    assert shared(PAIR) == 2
    assert shared(ROW) == 0


def test_share_of_the_ceiling() -> None:
    assert share_of_ceiling(flop=50e9, seconds=2, gflops=100) == pytest.approx(0.25)


def test_a_stratified_subset_has_the_same_mean_length() -> None:
    rows = [Row({}, list(range(n)), [1] * n) for n in range(1, 129)]
    means = [sum(len(row.ids) for row in stratified(rows, n)) / n for n in (128, 32, 8)]
    assert means == pytest.approx([64.5, 64.5, 64.5], abs=0.6)
    assert len({len(row.ids) for row in stratified(rows, 32)}) == 32


def test_a_digest_names_rows_in_any_order_and_each_token_of_them() -> None:
    rows = [([1, 2], [0, 1]), ([3], [1])]
    assert digest(rows) == digest(rows[::-1])
    others = [
        [*rows, rows[0]],
        [([1, 2], [1, 1]), rows[1]],
        [([1, 9], [0, 1]), rows[1]],
        [([1], [0]), ([2, 3], [1, 1])],
    ]
    assert len({digest(rows), *map(digest, others)}) == 1 + len(others)
    assert digest([([1, 2, 7], [0, 1, 0]), rows[1]]) == digest(rows)
