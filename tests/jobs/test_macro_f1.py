"""Macro-F1 during a fit is scikit-learn's over the classes that occur in the truth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from luthier.evaluate.f1 import plain_f1


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_is_scikit_learns(seed: int, several: bool) -> None:
    draw = np.random.default_rng(seed)
    if several:
        truth, guess = (draw.random((12, 6)) < share for share in (0.2, 0.4))
    else:
        truth, guess = (np.eye(6, dtype=bool)[draw.integers(0, 6, 12)] for _ in range(2))
    there = np.flatnonzero(truth.any(0)).tolist()
    wanted = f1_score(truth, guess, labels=there, average="macro", zero_division=0)
    assert plain_f1(truth.astype(float), guess.astype(float), "macro_f1") == pytest.approx(wanted)


def test_without_any_class_it_is_0() -> None:
    assert plain_f1(np.zeros((3, 2)), np.ones((3, 2)), "macro_f1") == 0.0
