"""What a step does with tensors that are held in parts, in a world of one process."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from luthier.engine import world
from luthier.engine.shards import by_kind, clip, total_norm, whole


def part(values: list[float], mesh: DeviceMesh) -> DTensor:
    return distribute_tensor(torch.tensor(values), mesh, [Shard(0)])


def test_kinds_are_kept_apart_in_order(mesh: DeviceMesh) -> None:
    plain, parts = torch.zeros(2), part([1.0], mesh)
    assert by_kind([parts, plain]) == [[plain], [parts]]
    assert by_kind([plain]) == [[plain]]
    assert by_kind([]) == []


def test_the_norm_and_clipping_are_those_of_all_gradients(mesh: DeviceMesh) -> None:
    plain, parts = nn.Parameter(torch.zeros(1)), nn.Parameter(part([0.0, 0.0], mesh))
    plain.grad, parts.grad = torch.tensor([2.0]), part([1.0, 2.0], mesh)
    norm = total_norm([plain.grad, parts.grad])
    assert float(norm) == pytest.approx(3.0)
    clip([plain, parts], 1.5, norm)
    assert plain.grad.tolist() == pytest.approx([1.0], rel=1e-5)
    assert whole(parts.grad).tolist() == pytest.approx([0.5, 1.0], rel=1e-5)
    assert float(total_norm([])) == 0.0


def test_an_error_of_the_others_is_told_from_our_own() -> None:
    assert world.lost(RuntimeError("[…/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1"))
    assert world.lost(dist.DistBackendError("NCCL communicator was aborted"))
    assert not world.lost(RuntimeError("shapes cannot be multiplied"))
    assert not world.lost(ValueError("gloo"))
