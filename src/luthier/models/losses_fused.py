"""Log-probabilities of chosen tokens without ever holding all logits.

The head multiplies chunks of hidden states into one reused buffer. Where the head is frozen, the gradient of a
log-probability with respect to its hidden state, W[target] - softmax(h Wᵀ) W, is finished in the same pass while the
softmax is at hand; the backward only scales each row of it. Where the head is trained, the backward multiplies again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from luthier.models.precision import wide

CHUNK = 256
"""Targets a chunk: the buffer takes CHUNK × vocabulary floats (50 MB for 49 152 tokens)."""
CHUNK_ON_GPU = 1024
SMALL_CHUNK = 64
"""On a CPU where memory is worth more than time: the output layer takes a quarter longer, and 13 MB."""


class Finish(NamedTuple):
    """What a family does to its logits z after the output layer: scale · z, or cap · tanh(scale · z / cap)."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """The finished logits."""
        scaled = logits if self.scale == 1.0 else logits * self.scale
        return scaled if self.cap is None else torch.tanh(scaled / self.cap) * self.cap

    def cooled(self, temperature: float) -> Finish:
        """The same over a temperature."""
        return Finish(self.scale / temperature, None if self.cap is None else self.cap / temperature)

    def slope(self, finished: Tensor) -> Tensor | None:
        """The derivative at finished logits; None where it is 1 everywhere."""
        if self == AS_THEY_ARE:
            return None
        return (
            torch.full_like(finished, self.scale) if self.cap is None else (1 - (finished / self.cap) ** 2) * self.scale
        )


AS_THEY_ARE = Finish()


def token_logprobs(
    hidden_NH: Tensor, head_VH: Tensor, target_N: Tensor, bias_V: Tensor | None = None, finish: Finish = AS_THEY_ARE,
    chunk: int | None = None,
) -> Tensor:  # fmt: skip
    """log softmax(finish(h Wᵀ + b))[target] of each hidden state: (N, H), (V, H), (N,) → (N,) in float32 or float64.

    Logits exist for `chunk` targets at a time, by default for as many as the device is fast with.
    """
    chunk = chunk or (CHUNK if hidden_NH.device.type == "cpu" else CHUNK_ON_GPU)
    return _TokenLogprobs.apply(hidden_NH, head_VH, target_N, bias_V, finish, chunk)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, target: Tensor, bias: Tensor | None, finish: Finish, chunk: int
    ) -> Tensor:
        frozen = not (ctx.needs_input_grad[1] or ctx.needs_input_grad[3])
        direct = frozen and ctx.needs_input_grad[0]
        logprobs = torch.empty(len(target), dtype=wide(hidden.dtype), device=hidden.device)
        unit = torch.empty_like(hidden) if direct else None
        for rows, logits in _chunks(hidden, head, bias, finish, chunk):
            picked, slope = logits.gather(1, target[rows, None]), finish.slope(logits)
            peak, total = _exp_(logits)
            logprobs[rows] = (picked - peak - total.log())[:, 0]
            if unit is not None:
                own = head[target[rows]]
                if slope is not None:
                    logits, own = logits.mul_(slope), own * slope.gather(1, target[rows, None]).to(head.dtype)
                if head.dtype == torch.float16:  # whose largest number is 65 504
                    logits, total = logits.div_(total), torch.ones_like(total)
                mean = torch.mm(logits.to(head.dtype), head, out=unit[rows]).div_(total)
                torch.sub(own, mean, out=unit[rows])
        ctx.direct, ctx.finish, ctx.chunk = direct, finish, chunk
        ctx.save_for_backward(*((unit,) if direct else (hidden, head, target, bias)))
        return logprobs

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        grad = grads[0]
        if ctx.direct:
            (unit,) = ctx.saved_tensors
            return unit * grad[:, None].to(unit.dtype), None, None, None, None, None
        hidden, head, target, bias = ctx.saved_tensors
        grad_hidden, grad_head = torch.empty_like(hidden), torch.zeros_like(head, dtype=wide(head.dtype))
        grad_bias = None if bias is None else torch.zeros_like(bias, dtype=wide(bias.dtype))
        for rows, logits in _chunks(hidden, head, bias, ctx.finish, ctx.chunk):
            finished = ctx.finish.slope(logits)
            _, total = _exp_(logits)
            slope = logits.div_(-total).scatter_add_(1, target[rows, None], torch.ones_like(total))
            slope = slope if finished is None else slope.mul_(finished)
            slope = slope.mul_(grad[rows, None]).to(head.dtype)
            torch.mm(slope, head, out=grad_hidden[rows])
            if grad_head.dtype == head.dtype:
                grad_head.addmm_(slope.T, hidden[rows])
            else:
                grad_head += slope.T @ hidden[rows]
            if grad_bias is not None:
                grad_bias += slope.sum(0)
        return grad_hidden, grad_head, None, grad_bias, None, None


def logits_in_chunks(
    hidden_NH: Tensor, head_VH: Tensor, bias_V: Tensor | None = None, finish: Finish = AS_THEY_ARE
) -> Any:
    """Yield (slice of rows, logits of those rows (n, V) in at least float32); the logits' memory is used again."""
    return _chunks(hidden_NH, head_VH, bias_V, finish, CHUNK if hidden_NH.device.type == "cpu" else CHUNK_ON_GPU)


def _chunks(hidden: Tensor, head: Tensor, bias: Tensor | None, finish: Finish, chunk: int) -> Any:
    dtype = hidden.dtype if hidden.device.type == "cpu" else wide(hidden.dtype)
    buffer = torch.empty(min(chunk, len(hidden)), len(head), dtype=dtype, device=hidden.device)
    for start in range(0, len(hidden), chunk):
        rows = slice(start, min(start + chunk, len(hidden)))
        logits = _product(hidden[rows], head, buffer[: rows.stop - start])
        if bias is not None:
            logits += bias
        yield rows, finish(logits.to(wide(logits.dtype)))


def _product(hidden: Tensor, head: Tensor, out: Tensor) -> Tensor:
    """h Wᵀ into `out`; where that is wider than they are, which a CPU cannot, sums are never rounded to their type."""
    if out.dtype == hidden.dtype:
        return torch.mm(hidden, head.T, out=out)
    return torch.mm(hidden, head.T, out.dtype, out=out)  # type: ignore[call-overload]


def _exp_(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Turn logits (n, V) into exp(logits - max) where they stand; returns max and sum, (n, 1) each."""
    peak = logits.amax(1, keepdim=True)
    return peak, logits.sub_(peak).exp_().sum(1, keepdim=True)
