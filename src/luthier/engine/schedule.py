"""Learning-rate schedules: the share of the peak at each step."""

from __future__ import annotations

import math
from collections.abc import Callable

WSD_DECAY = 0.2
"""The share of all steps in which `wsd` falls to zero (Hu et al. 2024, arXiv:2404.06395, use 0.1 to 0.2)."""

SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda t: 1.0,
    "linear": lambda t: 1.0 - t,
    "cosine": lambda t: 0.5 * (1.0 + math.cos(math.pi * t)),
    "wsd": lambda t: min(1.0, (1.0 - t) / WSD_DECAY),
}


def share(shape: str, step: int, steps: int, warmup_ratio: float) -> float:
    """The factor on the peak learning rate at optimizer step `step` (from 0) of `steps`.

    Rises linearly over the first `warmup_ratio` of the steps and reaches 1 at their end; then `shape` runs over the
    rest. No step has a rate of exactly 0, which would waste it.
    """
    warmup = math.ceil(steps * warmup_ratio)
    if step < warmup:
        return (step + 1) / warmup
    return SHAPES[shape]((step - warmup) / max(1, steps - warmup))
