"""Where a process that trains takes its memory from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.engine import allocator

LOADED = "from pathlib import Path; print('libmimalloc' in Path('/proc/self/maps').read_text())"


def test_without_mimalloc_nothing_is_preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise allocator.PackageNotFoundError(name)

    monkeypatch.setattr(allocator, "files", missing)
    assert allocator.preload() == {}


GIVEN_BACK = """
import torch
from luthier.engine.allocator import give_back
from luthier.engine.peak import Peak
peak = Peak("cpu")
one = torch.ones(25_000_000)
del one
held = peak.begin()
give_back()
print(held - peak.begin())
"""


@pytest.mark.parametrize(
    "environment", [{}, pytest.param(allocator.preload(), marks=pytest.mark.skipif(
        not allocator.preload(), reason="mimalloc is not installed: luthier[lean]"))],
)  # fmt: skip
def test_freed_pages_can_be_given_back(environment: dict[str, str]) -> None:
    kept = "from luthier.engine.allocator import keep_pages; keep_pages()\n"
    out = subprocess.run([sys.executable, "-c", kept + GIVEN_BACK], env=os.environ | environment, capture_output=True,
                         text=True, check=True)  # fmt: skip
    assert int(out.stdout) > 80e6


@pytest.mark.skipif(not allocator.preload(), reason="mimalloc is not installed: luthier[lean]")
def test_a_process_that_trains_is_started_with_it() -> None:
    environment = allocator.preload()
    assert Path(environment["LD_PRELOAD"]).exists()
    out = subprocess.run([sys.executable, "-c", LOADED], env=os.environ | environment, capture_output=True, text=True,
                         check=True)  # fmt: skip
    assert out.stdout.strip() == "True"
