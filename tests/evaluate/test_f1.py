"""F1 over a split: equal to scikit-learn, paired, with honest error rates."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.metrics import f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from luthier.evaluate.f1 import f1, paired_f1

Labels = list[frozenset[str]]


def single(indices: np.ndarray) -> Labels:
    return [frozenset([f"c{i}"]) for i in indices]


def noisy(rng: np.random.Generator, right: np.ndarray, error: float, classes: int) -> np.ndarray:
    return np.where(rng.random(len(right)) < error, rng.integers(0, classes, len(right)), right)


@pytest.mark.parametrize(("metric", "average"), [("macro_f1", "macro"), ("micro_f1", "micro")])
def test_one_label_equals_scikit_learn(rng: np.random.Generator, metric: str, average: str) -> None:
    right = rng.integers(0, 5, 80)
    given = noisy(rng, right, 0.4, 5)
    found = f1(single(right), single(given), [None] * 80, metric, 0.95)
    assert found.value == pytest.approx(f1_score(right, given, average=average))
    assert found.low < found.value < found.high


@pytest.mark.parametrize(("metric", "average"), [("macro_f1", "macro"), ("micro_f1", "micro")])
def test_several_labels_equal_scikit_learn(rng: np.random.Generator, metric: str, average: str) -> None:
    right, given = (
        [frozenset(f"c{i}" for i in np.flatnonzero(row)) for row in rng.random((60, 6)) < share] for share in (0.3, 0.4)
    )
    table = MultiLabelBinarizer().fit(right + given)
    expected = f1_score(table.transform(right), table.transform(given), average=average)
    assert f1(right, given, [None] * 60, metric, 0.95).value == pytest.approx(expected)


def test_macro_is_over_the_classes_that_occur() -> None:
    right, given = single(np.array([0, 0, 1, 1])), single(np.array([0, 0, 1, 7]))
    assert f1(right, given, [None] * 4, "macro_f1", 0.95).value == pytest.approx((1 + 2 / 3) / 2)


def test_no_answer_is_a_miss() -> None:
    given = [frozenset(), *single(np.array([1]))]
    assert f1(single(np.array([0, 1])), given, [None] * 2, "macro_f1", 0.95).value == 0.5


def test_paired_value_and_direction(rng: np.random.Generator) -> None:
    right = rng.integers(0, 4, 200)
    good, bad = single(noisy(rng, right, 0.1, 4)), single(noisy(rng, right, 0.5, 4))
    reference, alone = single(right), [None] * 200
    found = paired_f1(reference, good, bad, alone, "macro_f1", 0.95)
    values = [f1(reference, answers, alone, "macro_f1", 0.95).value for answers in (good, bad)]
    assert found.value == pytest.approx(values[0] - values[1])
    assert 0 < found.low < found.value < found.high
    assert found.p < 0.01


def test_the_same_answers_do_not_differ(rng: np.random.Generator) -> None:
    right, given = single(rng.integers(0, 4, 30)), single(rng.integers(0, 4, 30))
    assert paired_f1(right, given, given, [None] * 30, "macro_f1", 0.95)[:4] == (0, 0, 0, 1)


def test_interval_and_p_agree_and_equal_solvers_are_rarely_told_apart() -> None:
    """Eight classes on 40 rows, where the plain bootstrap errs in 4–5 % on one side."""
    rng = np.random.default_rng(7)
    errors = 0
    for _ in range(60):
        right = rng.integers(0, 8, 40)
        tuned, baseline = (single(noisy(rng, right, 0.25, 8)) for _ in range(2))
        found = paired_f1(single(right), tuned, baseline, [None] * 40, "macro_f1", 0.95)
        assert (found.low > 0 or found.high < 0) == (found.p <= 0.05 + 1e-12)
        errors += found.low > 0
    assert errors <= 4


def test_rows_of_a_group_are_swapped_together(rng: np.random.Generator) -> None:
    right = rng.integers(0, 3, 10)
    repeated = [single(column.repeat(20)) for column in (right, noisy(rng, right, 0.2, 3), noisy(rng, right, 0.5, 3))]
    groups = [str(i // 20) for i in range(200)]
    grouped = paired_f1(*repeated, groups, "macro_f1", 0.95)
    alone = paired_f1(*repeated, [None] * 200, "macro_f1", 0.95)
    assert grouped.value == alone.value
    assert grouped.p > alone.p


def test_three_thousand_rows_of_77_classes_take_a_moment(rng: np.random.Generator) -> None:
    right = rng.integers(0, 77, 3000)
    columns = [single(right), single(noisy(rng, right, 0.1, 77)), single(noisy(rng, right, 0.1, 77))]
    start = time.process_time()
    paired_f1(*columns, [None] * 3000, "macro_f1", 0.95)
    assert time.process_time() - start < 2.0
