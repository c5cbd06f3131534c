"""How many processes there are, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_recipe_resolve import MACHINE, SMOLLM, TICKETS, tickets

from luthier.errors import RecipeError
from luthier.recipe import Facts, MachineFacts, resolve

TORCHRUN = replace(MACHINE, processes=4)
GPUS = replace(MACHINE, device="cuda", gpus=2)


def given(on: MachineFacts = MACHINE, **changes: Any) -> Any:
    return resolve(tickets(**changes), Facts(SMOLLM, TICKETS, on))


def test_there_are_as_many_as_torchrun_started() -> None:
    resolved = given(TORCHRUN)
    assert resolved.recipe.machine.num_processes == 4
    assert {r.key: r.why for r in resolved.reasons}["machine.num_processes"] == "as many as torchrun started"
    assert given(TORCHRUN, machine={"num_processes": 4}).recipe.machine.num_processes == 4
    assert given().recipe.machine.num_processes == 1


TWO = {"num_processes": 2}
FSDP, TENSOR = ({**TWO, "parallel": how} for how in ("fsdp", "tensor"))
GRPO = {"type": "grpo", "reward": "exact_match"}


@pytest.mark.parametrize(
    ("machine", "changes", "words"),
    [
        (TORCHRUN, {"machine": TWO}, "is 2, and torchrun started 4.*Leave the key out"),
        (GPUS, {"machine": {"num_processes": 3}}, "is 3, and each takes one of 2 GPUs.*at most 2"),
        (MACHINE, {"machine": TWO, "objective": GRPO}, "`objective: grpo` samples.*`num_processes: 1`"),
        (TORCHRUN, {"objective": GRPO}, "samples its answers in one process"),
        (MACHINE, {"machine": TWO, "train": {"batch_size": 1}}, "a step of 1 rows leaves some of 2 processes"),
        (MACHINE, {"machine": FSDP, "adapter": "ia3"}, "`machine.parallel: fsdp` learns `lora` or `full`"),
        (MACHINE, {"machine": TENSOR, "adapter": "adalora"}, "`machine.parallel: tensor` learns `lora` or `full`"),
        (MACHINE, {"machine": FSDP, "load_in_4bit": True}, "`load_in_4bit` does not work with .*fsdp"),
        (MACHINE, {"machine": FSDP, "load_in_8bit": True}, "`load_in_8bit` does not work with .*fsdp"),
        (MACHINE, {"machine": FSDP, "train": {"optimizer": "adamw_8bit"}}, "`train.optimizer` does not work"),
        (
            MACHINE,
            {"machine": TWO, "adapter": "full", "train": {"optimizer_in_backward": True, "max_grad_norm": 0.0}},
            "each of 2 processes would take steps of its own",
        ),
        (MACHINE, {"machine": TENSOR, "adapter": {"use_dora": True}}, "`adapter.use_dora` does not work"),
        (MACHINE, {"machine": FSDP, "adapter": {"lora_dropout": 0.1}}, "`adapter.lora_dropout` does not work"),
        (MACHINE, {"machine": FSDP, "privacy": {"target_epsilon": 8.0}}, "`privacy` does not work with"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(
    machine: MachineFacts, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        given(machine, **changes)


def test_one_process_may_ask_for_any_division() -> None:
    assert given(machine={"parallel": "tensor"}, adapter="ia3").recipe.machine.parallel == "tensor"
