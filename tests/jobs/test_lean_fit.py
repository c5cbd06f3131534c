"""Fits that take less memory learn what others learn, and say what was decided for them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from test_fit import SHORT, go_on, learnt, stop_after
from works import CHATS, ready_of, recipe, work_of

from luthier.errors import RecipeError
from luthier.jobs.fit import fit
from luthier.jobs.workbench import Work
from luthier.store import Home

WHOLE = {**SHORT, "learning_rate": 1e-3, "max_grad_norm": 0, "rehearsal": 0}
EIGHT = pytest.mark.skipif(not importlib.util.find_spec("bitsandbytes"), reason="needs luthier[bnb]")


def full(folder: Path, model: Path, **train: object) -> Work:
    home = Home(folder / "home")
    return work_of(ready_of(recipe(folder, model, CHATS, adapter="full", train={**WHOLE, **train}), home), home)


def test_blocks_computed_again_and_steps_in_the_backward_end_where_others_do(tiny_llama: Path, tmp_path: Path) -> None:
    plain = full(tmp_path / "plain", tiny_llama, gradient_checkpointing=False)
    lean = full(tmp_path / "lean", tiny_llama, gradient_checkpointing=True, optimizer_in_backward=True)
    assert {fit(work, go_on)["steps"] for work in (plain, lean)} == {6}
    assert learnt(plain) == learnt(lean)


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("adamw_8bit", marks=EIGHT)])
def test_a_paused_fit_goes_on_to_the_same_end(optimizer: str, tiny_llama: Path, tmp_path: Path) -> None:
    whole, parts = (
        full(tmp_path / name, tiny_llama, optimizer_in_backward=True, optimizer=optimizer) for name in ("a", "b")
    )
    fit(whole, go_on)
    assert fit(parts, stop_after(4)) == {"stopped": "paused"}
    fit(parts, go_on)
    assert learnt(parts) == learnt(whole)


def test_what_auto_became_is_said(tiny_llama: Path, tmp_path: Path) -> None:
    ready = ready_of(recipe(tmp_path, tiny_llama, CHATS), Home(tmp_path / "home"))
    (reason,) = [each for each in ready.resolved.reasons if each.key == "train.gradient_checkpointing"]
    assert reason.value is ready.recipe.train.gradient_checkpointing is False
    assert reason.why.startswith("the longest row, ")


@pytest.mark.parametrize(
    ("train", "told"),
    [
        ({"optimizer": "paged_adamw_8bit"}, "on a CPU.*`adamw_8bit`"),
        ({"gradient_checkpointing": True, "activation_offloading": True}, "on a CPU.*Leave it out"),
    ],
)
@EIGHT
def test_what_only_a_gpu_has_is_refused_on_a_cpu(
    train: dict[str, object], told: str, tiny_llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=told):
        ready_of(recipe(tmp_path, tiny_llama, CHATS, train=train, machine={"device": "cpu"}), Home(tmp_path / "home"))
