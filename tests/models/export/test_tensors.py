"""Numbers of safetensors files without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from luthier.errors import ModelError
from luthier.models.export.tensors import read_tensor
from luthier.models.weights import places


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_numbers_are_those_that_were_written(dtype: torch.dtype, tmp_path: Path) -> None:
    numbers = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    save_file({"a": torch.zeros(7, dtype=dtype), "b": numbers}, tmp_path / "x.safetensors")
    found = read_tensor(places([tmp_path / "x.safetensors"])["b"])
    assert found.dtype == np.float32
    assert np.array_equal(found, numbers.float().numpy())


def test_whole_numbers_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, dtype=torch.int8)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="I8"):
        read_tensor(places([tmp_path / "x.safetensors"])["a"])
