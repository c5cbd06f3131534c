"""Learning rates by step."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.engine.schedule import SHAPES, share

WARM = 0.2
"""Of ten steps: two."""


@pytest.mark.parametrize(
    ("shape", "middle", "last"),
    [
        ("constant", 1.0, 1.0),
        ("linear", 0.5, 1 / 8),
        ("cosine", 0.5, 0.5 * (1 + math.cos(math.pi * 7 / 8))),
        ("wsd", 1.0, 5 / 8),
    ],
)
def test_start_peak_middle_and_end(shape: str, middle: float, last: float) -> None:
    rates = [share(shape, step, 10, WARM) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(middle)
    assert rates[9] == pytest.approx(last)


def test_every_shape_of_the_recipe_is_there() -> None:
    from luthier.recipe import Train

    assert set(SHAPES) == set(Train.model_fields["lr_scheduler"].annotation.__args__)


def test_wsd_falls_in_the_last_fifth_alone() -> None:
    rates = [share("wsd", step, 100, 0.0) for step in range(100)]
    assert rates[:81] == pytest.approx([1.0] * 81)
    assert rates[81:] == pytest.approx([(100 - step) / 20 for step in range(81, 100)])


@given(st.sampled_from(sorted(SHAPES)), st.integers(1, 300), st.floats(0, 1, exclude_max=True, allow_subnormal=False))
def test_a_rate_rises_to_1_once_and_is_never_0(shape: str, steps: int, warmup: float) -> None:
    rates = [share(shape, step, steps, warmup) for step in range(steps)]
    peak = rates.index(max(rates))
    assert min(rates) > 0
    assert max(rates) == 1.0
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert peak == max(0, math.ceil(steps * warmup) - 1)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_one_step_is_taken_at_the_full_rate(shape: str) -> None:
    assert share(shape, 0, 1, 0.05) == 1.0
