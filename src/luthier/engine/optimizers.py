"""AdamW (Loshchilov and Hutter 2017, arXiv:1711.05101) with moments of float32, or of eight bits in blocks of 256
(Dettmers et al. 2022, arXiv:2110.02861) through bitsandbytes; of fewer than 4 096 weights they stay float32 there.

`paged_adamw_8bit` keeps the moments in pages that a GPU shares with the machine, and leaves to it when it is full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from luthier.models.extras import require_bitsandbytes
from luthier.recipe.types import Train

TABLES = {"state1": ("qmap1", "dynamic"), "state2": ("qmap2", "udynamic")}
"""Of a moment in eight bits: where its state has the values that these stand for, and what bitsandbytes calls them."""


def optimizer_of(settings: Train, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The recipe's optimizer over groups of parameters, each with its `weight_decay`. Raises ModelError where it needs
    bitsandbytes, and that is not installed."""
    return TABLE[settings.optimizer](
        groups, lr=float(settings.learning_rate), eps=settings.adam_epsilon,
        betas=(settings.adam_beta1, settings.adam_beta2),
    )  # fmt: skip


def kept_state(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> Iterator[tuple[str, Tensor]]:
    """What decides the next steps of a parameter, as named tensors; none before its first step."""
    for name, value in optimizer.state.get(parameter, {}).items():
        if not name.startswith("qmap"):  # one table for all
            yield name, torch.as_tensor(value)


def put_back(optimizer: Any, parameter: nn.Parameter, name: str, value: Tensor) -> None:
    """Give a parameter one of its `kept_state` back, in memory as the optimizer takes it."""
    entry = optimizer.state[parameter]
    if not hasattr(optimizer, "get_state_buffer"):
        entry[name] = value.to(parameter.device, copy=True)
    elif name == "step":
        entry[name] = int(value)
    elif name in TABLES:
        entry[name] = optimizer.get_state_buffer(parameter, dtype=value.dtype)
        entry[name].copy_(value)
        if value.dtype == torch.uint8:
            table, values = TABLES[name]
            entry[table] = optimizer.name2qmap[values] = optimizer.name2qmap[values].to(parameter.device)
    else:
        entry[name] = value.to(parameter.device, copy=True)


def _adamw(groups: list[dict[str, Any]], **options: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, fused=True, **options)


def _eight_bits(groups: list[dict[str, Any]], **options: Any) -> torch.optim.Optimizer:
    require_bitsandbytes("moments of eight bits", "train.optimizer")
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(groups, **options)


def _paged(groups: list[dict[str, Any]], **options: Any) -> torch.optim.Optimizer:
    require_bitsandbytes("moments of eight bits", "train.optimizer")
    from bitsandbytes.optim import PagedAdamW8bit

    return PagedAdamW8bit(groups, **options)


TABLE: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": _adamw, "adamw_8bit": _eight_bits, "paged_adamw_8bit": _paged,
}  # fmt: skip
"""`train.optimizer` → makes it."""
