"""Fits in sixteen bits: what is said of them, and that they go on to the same end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_fit import SHORT, go_on, learnt, stop_after
from works import CHATS, DRY, data_part, ready_of, recipe, work_of

from luthier.jobs.fit import fit
from luthier.jobs.warnings import warnings
from luthier.jobs.workbench import Work
from luthier.store import Home, runs


def work(folder: Path, model: Path, precision: str, **sections: Any) -> Work:
    home = Home(folder / "home")
    train = {**SHORT, "learning_rate": 1e-3, "precision": precision}
    return work_of(ready_of(recipe(folder, model, CHATS, train=train, **sections), home), home)


@pytest.mark.parametrize(("precision", "sections"), [
    ("bfloat16", {"adapter": "full", "machine": DRY | {"threads": 2}}), ("float16", {}),
])  # fmt: skip
def test_a_paused_fit_goes_on_to_the_same_end(
    precision: str, sections: dict[str, Any], tiny_llama: Path, tmp_path: Path
) -> None:
    whole, parts = (work(tmp_path / name, tiny_llama, precision, **sections) for name in ("a", "b"))
    fit(whole, go_on)
    assert fit(parts, stop_after(4)) == {"stopped": "paused"}
    fit(parts, go_on)
    assert learnt(parts) == learnt(whole)
    assert whole.files.precision == precision


def test_it_learns_nearly_what_float32_learns(tiny_llama: Path, tmp_path: Path) -> None:
    found = {}
    for precision in ("float32", "bfloat16"):
        own = work(tmp_path / precision, tiny_llama, precision)
        fit(own, go_on)
        found[precision] = [value for _, name, value in runs.metrics(own.home, own.plan.run_id) if name == "loss"]
    assert found["bfloat16"] == pytest.approx(found["float32"], rel=0.02)
    assert found["bfloat16"] != found["float32"]


@pytest.mark.parametrize(("precision", "known", "said"), [
    ("bfloat16", True, "rounded to three digits"), ("bfloat16", False, "many times slower"),
    ("float16", True, "many times slower"), ("float32", False, ""),
])  # fmt: skip
def test_on_a_cpu_it_is_said_what_it_costs(
    precision: str, known: bool, said: str, tiny_llama: Path, tmp_path: Path
) -> None:
    ready = ready_of(recipe(tmp_path, tiny_llama, CHATS, train={"precision": precision}), Home(tmp_path / "home"))
    facts = replace(ready.facts, machine=replace(ready.facts.machine, bfloat16=known))
    told = [text for text in warnings(replace(ready, facts=facts), data_part(ready, None)) if "precision" in text]
    assert len(told) == bool(said)
    assert all(said in text for text in told)
