"""The peak of memory, section by section."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from luthier.engine.peak import CLEAR, Peak

MEGABYTE = 1 << 20
forgets = pytest.mark.skipif(not CLEAR.exists(), reason="this kernel does not forget a peak")


def fill(megabytes: int) -> None:
    """Hold so much memory for a moment, outside the heap, which keeps its pages."""
    np.ones(megabytes * MEGABYTE // 8).sum()


@forgets
def test_each_section_has_a_peak_of_its_own_and_all_have_the_largest() -> None:
    peak = Peak("cpu")
    held = peak.begin()
    fill(200)
    large = peak.section()
    assert large - held == pytest.approx(200 * MEGABYTE, rel=0.1)
    held = peak.begin()
    fill(50)
    assert peak.section() - held < 100 * MEGABYTE
    assert peak.overall() == large


@forgets
def test_what_an_earlier_fit_held_does_not_count() -> None:
    first = Peak("cpu")
    fill(200)
    before = first.overall()
    assert Peak("cpu").overall() < before - 100 * MEGABYTE


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_is_what_was_allocated_there() -> None:
    peak = Peak("cuda")
    held = peak.begin()
    torch.ones(64 * MEGABYTE // 4, device="cuda")
    assert peak.section() - held == 64 * MEGABYTE
