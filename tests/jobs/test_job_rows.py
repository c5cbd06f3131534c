"""Rendering as a run needs it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from luthier.data.example import Example
from luthier.data.render import Renderer
from luthier.jobs.rows import Rendering, render_split, rendering_of
from luthier.recipe import Recipe

ROWS = [Example(row_id=f"r:{i}", prompt=f"what does bridge {i} cost?", completion=f"{i} euros") for i in range(5)]


def settings(**train: object) -> Recipe:
    return Recipe.model_validate({"base_model": "m", "data": "r.jsonl", "train": train})


def test_a_rendering_has_the_settings_of_its_recipe() -> None:
    found = rendering_of(settings(train_on="last", truncation="drop"), 77)
    assert found == Rendering(sequence_len=77, truncation="drop", train_on="last", objective="sft")
    assert rendering_of(settings(), None).sequence_len is None


def test_it_is_what_the_renderer_makes_with_these_settings(tiny_llama: Path, tmp_path: Path) -> None:
    renderer = Renderer.from_folder(tiny_llama)
    own = Rendering(25, "right", "all", "sft")
    found = render_split(renderer, ROWS, tmp_path, own, lambda text: None)
    plain = renderer.rows(ROWS, sequence_len=25, truncation="right", train_on="all", objective="sft")
    assert found.ids.tolist() == plain.ids.tolist()
    assert found.weights.tolist() == plain.weights.tolist()
    assert found.row_ids == [row.row_id for row in ROWS]


@pytest.mark.parametrize("name", [field.name for field in fields(Rendering)])
def test_every_setting_has_a_place_of_its_own_in_the_cache(name: str, tiny_llama: Path, tmp_path: Path) -> None:
    other = {"sequence_len": 300, "truncation": "drop", "train_on": "all", "objective": "classify"}[name]
    renderer, usual = Renderer.from_folder(tiny_llama), Rendering(None, "error", "assistant", "sft")
    changed = Rendering(**{**vars(usual), name: other})
    for own in (usual, changed, usual, changed):
        render_split(renderer, ROWS, tmp_path, own, lambda text: None)
    assert len(list(tmp_path.iterdir())) == 2
