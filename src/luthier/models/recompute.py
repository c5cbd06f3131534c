"""Activation checkpointing (Chen et al. 2016, arXiv:1604.06174): of each transformer block only what goes in is kept
for the backward, which runs the block's forward again. The gradient stays the same, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint

from luthier.errors import ModelError
from luthier.models.adapt.blocks import blocks_of


def recompute_blocks(model: nn.Module, draws: bool = False, offload: bool = False, above: int = 0) -> None:
    """Let every transformer block of `model` recompute its activations in the backward.

    `draws` says that blocks draw random numbers (dropout), which must then be drawn alike again. With `offload`, the
    states that go into the blocks wait in the host's memory, page-locked where the model is on a GPU. Micro-batches of
    at most `above` tokens are kept whole. Raises ModelError where the model has no list of blocks.
    """
    try:
        blocks = blocks_of(model)
    except ModelError as error:
        raise ModelError(error.what, "train.gradient_checkpointing", "Write `false`") from error
    for block in blocks:
        block.forward = Recomputed(block.forward, draws, offload, above)


class Recomputed:
    """The forward of a block: as it was without gradients or while keys and values are recorded, else checkpointed."""

    def __init__(self, forward: Callable[..., Any], draws: bool, offload: bool, above: int = 0) -> None:
        self.forward, self.draws, self.offload, self.above = forward, draws, offload, above

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        few = args[0].shape[:-1].numel() <= self.above
        if few or not torch.is_grad_enabled() or kwargs.get("memory") is not None:
            return self.forward(*args, **kwargs)
        context = copy_context()  # on a GPU, the backward runs in a thread of its own

        def run(*args: Any, **kwargs: Any) -> Any:
            return context.copy().run(self.forward, *args, **kwargs)

        with self._kept(args):
            return checkpoint(run, *args, use_reentrant=False, preserve_rng_state=self.draws, **kwargs)

    def _kept(self, args: tuple[Any, ...]) -> AbstractContextManager[Any]:
        return save_on_cpu(pin_memory=args[0].is_cuda) if self.offload else nullcontext()
