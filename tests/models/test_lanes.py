"""Work side by side keeps its order, and no lane waits for one that is still busy."""

from __future__ import annotations

import threading
import time

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


def test_items_that_are_too_large_together_do_not_run_at_the_same_time() -> None:
    running: set[int] = set()
    seen: list[set[int]] = []
    lock = threading.Lock()
    places: dict[int, str] = {}

    def work(item: int) -> int:
        places[item] = threading.current_thread().name
        with lock:
            running.add(item)
        time.sleep(0.02)
        with lock:
            seen.append(set(running))
            running.remove(item)
        return item * 10

    sizes = [3, 3, 9, 2, 4, 5]
    assert list(side_by_side(work, range(6), 2, sizes, room=6)) == [0, 10, 20, 30, 40, 50]
    together = {frozenset(group) for group in seen if len(group) > 1}
    assert together <= {frozenset({0, 1}), frozenset({3, 4})}
    assert frozenset({0, 1}) in together
    here = threading.current_thread().name
    assert [item for item, place in places.items() if place == here] == [2, 5]


def test_a_row_beyond_the_budget_does_not_cut_the_others_apart() -> None:
    parts = spread([1000] + [100] * 20, 512, 2)
    assert [len(part) for part in parts] == [1, 5, 5, 5, 5]
