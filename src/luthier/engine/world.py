"""The ranks of a run: the processes that learn together, what they add up and what they agree on.

Alone, a process is its own rank 0 of 1 and nothing here communicates.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from luthier.engine.place import RENDEZVOUS, number, started
from luthier.recipe.types import Machine

PATIENCE = timedelta(hours=12)
"""How long a rank waits for another that is alive: as long as a validation or an evaluation may take."""
BUCKET = 1 << 24
"""Numbers that are summed over ranks at a time (64 MB of float32)."""
_shared = False


@contextmanager
def joined(machine: Machine) -> Iterator[None]:
    """With all processes of a resolved recipe's machine together; RANK, LOCAL_RANK and WORLD_SIZE say which this is.

    NCCL between GPUs, of which each process takes the one with its local rank, and gloo between CPUs.
    """
    if started() == 1:
        yield
        return
    global _shared
    backend = "gloo"
    if machine.device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend, init_method=os.environ.get(RENDEZVOUS, "env://"), timeout=PATIENCE,
        rank=number(), world_size=started(),
    )  # fmt: skip
    _shared = machine.parallel == "tensor"
    yield
    _shared = False
    dist.destroy_process_group()  # not after an error: the others may be gone


def processes() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def process() -> int:
    """This process's number among them."""
    return dist.get_rank() if dist.is_initialized() else 0


def leads() -> bool:
    """Whether this process is the one that writes and tells."""
    return process() == 0


def size() -> int:
    """Number of ranks, each with rows of its own. Processes that hold parts of one layer learn the same rows: one."""
    return 1 if _shared else processes()


def rank() -> int:
    """This process's number among them."""
    return 0 if _shared else process()


def lost(error: BaseException) -> bool:
    """Whether an error says no more than that another process has gone."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def total(parts: Iterable[Mapping[str, float]], names: Iterable[str]) -> dict[str, float]:
    """Add up mappings with these names, over all micro-batches and all ranks; a rank may have none."""
    sums = dict.fromkeys(names, 0.0)
    for part in parts:
        for name, value in part.items():
            sums[name] += value
    if size() == 1:
        return sums
    values = torch.tensor(list(sums.values()), dtype=torch.float64)
    dist.all_reduce(values)
    return dict(zip(sums, values.tolist(), strict=True))


def gathered(value: Any) -> list[Any]:
    """The value of each rank, in their order."""
    return [value] if size() == 1 else everyone(value)


def everyone(value: Any) -> list[Any]:
    """The value of each process, in their order."""
    if processes() == 1:
        return [value]
    found: list[Any] = [None] * processes()
    dist.all_gather_object(found, value)
    return found


def agreed(value: Any) -> Any:
    """The value of the process that leads, for all processes."""
    if processes() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def meet() -> None:
    """Wait until all processes are here."""
    if processes() > 1:
        dist.barrier()


@contextmanager
def leader_first(wanted: bool) -> Iterator[None]:
    """The block in the process that leads, and then in the others, which find what it has left on disk."""
    if wanted and not leads():
        meet()
    yield
    if wanted and leads():
        meet()


def spread(parameters: Iterable[nn.Parameter]) -> None:
    """Give all processes the values of the first, of what each holds whole."""
    for parameter in parameters:
        if processes() > 1 and not isinstance(parameter, DTensor):
            dist.broadcast(parameter.data, 0)


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum gradients over ranks. The loss was divided by global units, so the sum is the gradient.

    A parameter without a gradient on one rank has a gradient of 0 there, if any other has one. Those of sharded
    parameters are summed as they are taken.
    """
    own = [parameter for parameter in parameters if not isinstance(parameter, DTensor)]
    if size() == 1 or not own:
        return
    has = torch.tensor([parameter.grad is not None for parameter in own], dtype=torch.int32)
    dist.all_reduce(has, dist.ReduceOp.MAX)
    for bucket in _buckets([parameter for parameter, one in zip(own, has.tolist(), strict=True) if one]):
        flat = torch.cat([_gradient(parameter).flatten() for parameter in bucket])
        dist.all_reduce(flat)
        for parameter, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            parameter.grad = part.view_as(parameter)


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in bucket) + parameter.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket
