"""Layers of which each process computes a part, on the same rows as the others.

Shoeybi et al. 2019, arXiv:1909.08053: what reads the residual stream is cut by columns, what writes to it by rows, so
that a block sums over processes twice. Embeddings, norms and the output layer are whole in each.
"""

from __future__ import annotations

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from luthier.engine import world
from luthier.models.adapt.blocks import blocks_of
from luthier.models.families import COLUMNS, ROWS
from luthier.models.policy import Policy


def split(policy: Policy, device: str) -> None:
    """Cut the linear layers of each block, and what LoRA adds to them, into as many parts as there are processes."""
    mesh = init_device_mesh(device, (world.processes(),))
    for block in blocks_of(policy.wrapped):
        styles: dict[str, ParallelStyle] = {}
        for name, layer in block.named_modules():
            styles |= _styles(name, layer)
        parallelize_module(block, mesh, styles)
    policy.wrapped.to(device)


def _styles(name: str, layer: nn.Module) -> dict[str, ParallelStyle]:
    """Of an adapted layer, B is cut as its base is by columns, or A as its base is by rows; the other is whole."""
    last = name.rpartition(".")[2]
    if last not in COLUMNS | ROWS:
        return {}
    style = ColwiseParallel if last in COLUMNS else RowwiseParallel
    if isinstance(layer, nn.Linear):
        return {name: style()}
    vars(layer).pop("forward")  # the lean one multiplies whole matrices; PEFT's own calls the layers
    return {f"{name}.base_layer": style(), f"{name}.lora_{'B' if last in COLUMNS else 'A'}.default": style()}
