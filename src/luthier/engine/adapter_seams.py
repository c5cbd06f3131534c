"""What an adapter adds to the steps of a fit."""

from __future__ import annotations

from collections.abc import Callable

from luthier.engine.ranks import adalora
from luthier.engine.seams import Seams
from luthier.models.policy import Policy
from luthier.recipe.types import Adapter

TABLE: dict[str, Callable[[Policy, Adapter, int], Seams]] = {"adalora": adalora}
"""`adapter.type` → (the policy at step 0, the recipe's adapter, the steps of the fit) → its seams."""


def adapter_seams(policy: Policy, adapter: Adapter, steps: int) -> Seams:
    """Those of the recipe's adapter; none for most."""
    return TABLE[adapter.type](policy, adapter, steps) if adapter.type in TABLE else Seams()
