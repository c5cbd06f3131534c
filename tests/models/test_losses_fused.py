"""Log-probabilities in chunks equal those from all logits, which never exist."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from luthier.models import losses_fused
from luthier.models.losses_fused import Finish, token_logprobs

N, H, V = 11, 6, 40


def drawn(*shape: int, scale: float = 1.0) -> Tensor:
    draw = torch.Generator().manual_seed(sum(shape))
    return (scale * torch.randn(*shape, dtype=torch.float64, generator=draw)).requires_grad_()


@pytest.mark.parametrize("chunk", [4, 256])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("learnt", ["hidden", "head", "both"])
@pytest.mark.parametrize("finish", [Finish(), Finish(scale=0.25), Finish(cap=5.0), Finish(scale=2.0, cap=9.0)])
def test_values_and_gradients_are_those_of_log_softmax(
    chunk: int, bias: bool, learnt: str, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses_fused, "CHUNK", chunk)
    hidden, head, offset = drawn(N, H), drawn(V, H, scale=3), drawn(V) if bias else None
    wanted = {"hidden": [hidden], "head": [head], "both": [hidden, head]}[learnt]
    if offset is not None and learnt != "hidden":
        wanted.append(offset)
    for given in (hidden, head, offset):
        if given is not None:
            given.requires_grad_(any(given is one for one in wanted))
    target = torch.arange(N) * 3 % V
    ours = token_logprobs(hidden, head, target, offset, finish)
    logits = torch.nn.functional.linear(hidden, head, offset) * finish.scale
    logits = logits if finish.cap is None else finish.cap * torch.tanh(logits / finish.cap)
    theirs = torch.log_softmax(logits, -1).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(ours, theirs)
    weight = torch.linspace(-1, 2, N, dtype=torch.float64)
    for own, other in zip(*(torch.autograd.grad((out * weight).sum(), wanted) for out in (ours, theirs)), strict=True):
        torch.testing.assert_close(own, other)


def test_large_logits_do_not_overflow() -> None:
    hidden, head = torch.full((3, 2), 1e3), torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    found = token_logprobs(hidden, head, torch.tensor([0, 1, 0]))
    assert found.tolist() == [0.0, -4000.0, 0.0]


@pytest.mark.parametrize("trained_head", [False, True])
def test_no_tensor_is_as_large_as_all_logits(trained_head: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses_fused, "CHUNK", 4)
    rows = 60
    hidden, head = drawn(rows, H), drawn(V, H).requires_grad_(trained_head)
    with Largest() as seen:
        token_logprobs(hidden, head, torch.arange(rows) % V).sum().backward()
    assert max(4 * V, V * H, rows * H) >= seen.numbers > V
    assert seen.numbers < rows * V / 5


class Largest(TorchDispatchMode):
    """Watches every operation for the largest tensor that comes out of it."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            self.numbers = max(self.numbers, one.numel() if isinstance(one, Tensor) else 0)
        return out
