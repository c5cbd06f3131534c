"""Fixtures that all tests share. `tiny_llama` and `tiny_bert` are model folders; do not write into them."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: a second thread only waits

import numpy as np
import pytest
from factory import write_tiny_bert, write_tiny_llama
from hypothesis import settings

settings.register_profile("shared", deadline=None)  # a busy machine stalls for longer than any test takes
settings.load_profile("shared")


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty home in a folder of its own, also for code that opens the home by the environment."""
    from luthier.store import Home

    for name in ("LUTHIER_DATABASE_URL", "LUTHIER_BLOB_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    return Home.open()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory):
    """A world of this process alone, for tensors that are held in parts."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    meeting = (tmp_path_factory.mktemp("meeting") / "ranks").as_uri()
    dist.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()
