"""Work side by side keeps its order, and no lane waits for one that is still busy."""

from __future__ import annotations

import threading

from luthier.data.batch import spread
from luthier.models.lanes import side_by_side


def test_results_come_in_order() -> None:
    assert list(side_by_side(lambda item: item * 2, range(7), 2)) == [0, 2, 4, 6, 8, 10, 12]


def test_a_lane_goes_on_while_another_is_busy() -> None:
    third_began = threading.Event()

    def work(item: int) -> bool:
        if item == 2:
            third_began.set()
        return third_began.wait(5) if item == 0 else True

    assert all(side_by_side(work, range(3), 2))


def test_a_row_beyond_the_budget_does_not_cut_the_others_apart() -> None:
    parts = spread([1000] + [100] * 20, 512, 2)
    assert [len(part) for part in parts] == [1, 4, 4, 4, 4, 4]
