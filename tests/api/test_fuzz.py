"""The server under requests that nobody would think of; bench/fuzz.py is the longer run of the same."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))


@pytest.mark.slow
def test_no_request_is_a_server_error(tmp_path: Path) -> None:
    from fuzz import fuzz

    found = fuzz(tmp_path, seconds=20, seed=2, more=[])
    assert (found["failures"], found["traces"], found["ended_well"]) == (0, 0, True)
