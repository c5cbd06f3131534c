"""The number format a run computes in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_recipe_resolve import MACHINE, SMOLLM, TICKETS, filled, tickets, whys

from luthier.recipe import Facts, MachineFacts, resolve

GPU = replace(MACHINE, device="cuda", gpus=1, bfloat16=True)


@pytest.mark.parametrize(
    ("machine", "sections", "becomes", "why"),
    [
        (MACHINE, {}, "float32", "exact"),
        (replace(MACHINE, bfloat16=True), {}, "float32", "multiplies `bfloat16` faster"),
        (GPU, {}, "bfloat16", "8.0 or more"),
        (GPU, {"machine": {"device": "cpu"}}, "float32", "exact"),
        (replace(GPU, bfloat16=False), {}, "float16", "the loss is scaled"),
        (replace(GPU, bfloat16=False), {"privacy": {"target_epsilon": 8.0}}, "float32", "`privacy`"),
        (
            replace(GPU, bfloat16=False),
            {"adapter": "full", "train": {"optimizer_in_backward": True, "max_grad_norm": 0}},
            "float32",
            "`train.optimizer_in_backward`",
        ),
    ],
)
def test_the_precision_is_that_which_the_device_is_fast_in(
    machine: MachineFacts, sections: dict[str, Any], becomes: str, why: str
) -> None:
    resolved = resolve(tickets(**sections), Facts(SMOLLM, TICKETS, machine))
    assert resolved.recipe.train.precision == becomes
    assert why in whys(resolved)["train.precision"]


def test_a_precision_that_is_asked_for_is_kept() -> None:
    resolved = resolve(tickets(train={"precision": "bfloat16"}), Facts(SMOLLM, TICKETS, MACHINE))
    assert (resolved.recipe.train.precision, resolved.recipe.number_bytes) == ("bfloat16", 2)
    assert "train.precision" not in filled(resolved)
