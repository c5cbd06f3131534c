"""The recipe that a data file is started with."""

from __future__ import annotations

import pytest

from luthier.errors import RecipeError
from luthier.recipe import Glimpse, from_mapping, propose
from luthier.recipe.document import parse


@pytest.mark.parametrize(
    ("glimpse", "adapter", "objective"),
    [
        (Glimpse("generate", "chat", 610), "lora", "sft"),
        (
            Glimpse("classify", "classification", 10_003, 77, {"field_text": "no", "field_label": "y"}),
            "head",
            "classify",
        ),
        (Glimpse("text", "text", 40), "lora", "pretrain"),
        (Glimpse("preference", "preference", 40), "lora", "dpo"),
    ],
)
@pytest.mark.parametrize("path", ["rows.jsonl", "no: such # 'file'.csv", "a\nb"])
def test_a_proposal_loads(glimpse: Glimpse, adapter: str, objective: str, path: str) -> None:
    text = propose(glimpse, path)
    recipe = from_mapping(parse(text, "proposal")[0])
    assert (recipe.data[0].path, recipe.adapter.type, recipe.objective.type) == (path, adapter, objective)
    assert {key: getattr(recipe.data[0], key) for key in glimpse.columns} == glimpse.columns
    assert len(text.splitlines()) < 20
    mine = from_mapping(parse(propose(glimpse, path, "own/model"), "proposal")[0])
    assert (mine.base_model, mine.adapter.type) == ("own/model", "lora")


def test_no_recipe_is_proposed_for_verdicts() -> None:
    with pytest.raises(RecipeError, match=r"judged\.jsonl: rows of type kto judge single answers"):
        propose(Glimpse("verdict", "kto", 9), "judged.jsonl")
