"""Tensors that processes wrote in parts are read whole, or in other parts, and none is gathered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from luthier.engine import pieces

ROWS = torch.arange(15.0).view(5, 3)
BIAS = torch.tensor([1.0, 2.0])


@pytest.fixture
def by_two(tmp_path: Path) -> Path:
    """What two processes leave of a bias that both hold and of rows of which the first holds three."""
    save_file({"bias": BIAS}, tmp_path / "weights.safetensors")
    for number, (start, end) in enumerate(((0, 3), (3, 5))):
        place = {"rows": json.dumps({"shape": [5, 3], "start": [start, 0]})}
        save_file({"rows": ROWS[start:end].contiguous()}, tmp_path / f"weights.{number}.safetensors", place)
    return tmp_path


def test_parts_are_read_as_a_whole(by_two: Path) -> None:
    found = pieces.read(by_two, "weights", lambda name: None)
    assert torch.equal(found["rows"], ROWS)
    assert torch.equal(found["bias"], BIAS)


@pytest.mark.parametrize("side", [0, 1])
def test_parts_are_read_as_they_are_held(by_two: Path, mesh: DeviceMesh, side: int) -> None:
    like = {"rows": distribute_tensor(torch.zeros(5, 3), mesh, [Shard(side)]),
            "bias": distribute_tensor(torch.zeros(2), mesh, [Shard(0)])}  # fmt: skip
    found = pieces.read(by_two, "weights", like.get)
    for name, wanted in (("rows", ROWS), ("bias", BIAS)):
        assert isinstance(found[name], DTensor)
        assert found[name].placements == like[name].placements
        assert torch.equal(found[name].full_tensor(), wanted)


def test_what_has_another_shape_is_whole(by_two: Path, mesh: DeviceMesh) -> None:
    other = distribute_tensor(torch.zeros(4, 3), mesh, [Shard(0)])
    assert torch.equal(pieces.read(by_two, "weights", lambda name: other)["rows"], ROWS)


@pytest.mark.parametrize("own", [(0, 2), (2, 4), (4, 5), (5, 5)])
def test_a_process_reads_the_rows_that_it_holds(by_two: Path, mesh: DeviceMesh, own: tuple[int, int],
                                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """As the process of three or more that holds these rows would; the last of too many holds none."""
    start, end = own
    like = DTensor.from_local(torch.zeros(end - start, 3), mesh, [Shard(0)], shape=torch.Size((5, 3)), stride=(3, 1))
    monkeypatch.setattr(pieces, "_start", lambda value: [start, 0])
    assert torch.equal(pieces.read(by_two, "weights", {"rows": like}.get)["rows"].to_local(), ROWS[start:end])


def test_each_process_writes_what_it_alone_holds(tmp_path: Path, mesh: DeviceMesh) -> None:
    tensors = {"rows": distribute_tensor(ROWS, mesh, [Shard(1)]), "plain": BIAS,
               "same": distribute_tensor(BIAS + 1, mesh, [Replicate()])}  # fmt: skip
    written = pieces.write(tmp_path, "weights", tensors)
    assert [path.name for path in written] == ["weights.safetensors", "weights.0.safetensors"]
    assert [sorted(load_file(path)) for path in written] == [["plain", "same"], ["rows"]]
    found = pieces.read(tmp_path, "weights", tensors.get)
    assert torch.equal(found["rows"].full_tensor(), ROWS)
    assert torch.equal(found["same"].full_tensor(), BIAS + 1)


def test_alone_a_process_writes_one_file(tmp_path: Path) -> None:
    assert pieces.write(tmp_path, "weights", {"plain": BIAS, "number": torch.tensor(3.0)}) == [
        tmp_path / "weights.safetensors"
    ]
    assert float(pieces.read(tmp_path, "weights", lambda name: None)["number"]) == 3.0
