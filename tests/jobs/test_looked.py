"""How long lanes take for a step whose micro-batches are not alike."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.data.batch import Batch, unpacked
from luthier.jobs.looked import in_lanes
from luthier.jobs.operations import Operations

ONE_EACH = Operations(1, 0, 0)


def of_rows(count: int) -> Batch:
    return unpacked(np.arange(count), np.full(count, 3), {})


@pytest.mark.parametrize(
    ("rows", "lanes", "found"),
    [
        pytest.param([8], 2, 8, id="a single one has all cores"),
        pytest.param([4, 4], 2, 8, id="even"),
        pytest.param([6, 4], 2, 12, id="one waits"),
        pytest.param([4, 3, 2, 1], 2, 10, id="the next goes to the free lane"),
        pytest.param([3, 3, 3], 2, 12, id="three"),
        pytest.param([5, 1], 1, 6, id="one lane"),
        pytest.param([], 2, 0, id="none"),
    ],
)
def test_lanes_without_a_batch_wait(rows: list[int], lanes: int, found: int) -> None:
    assert in_lanes([of_rows(count) for count in rows], lanes, ONE_EACH) == found
