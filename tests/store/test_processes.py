"""Several processes use one home at once."""

from __future__ import annotations

from hammer import check, hammer, open_fresh, prepare, together

from luthier.store import Home, runs


def test_four_processes_open_a_fresh_home_at_once(home: Home) -> None:
    ids = together(open_fresh, [home] * 4)
    assert len(set(ids)) == 4
    assert {run.id for run in runs.list(home)} == set(ids)


def test_three_processes_write_at_once(home: Home) -> None:
    prepare(home)
    check(home, 3, together(hammer, [home] * 3))
