"""The layers that are cut into parts are those that transformers cuts, and nothing else needs a cut."""

from __future__ import annotations

import pytest
from transformers import AutoConfig

from luthier.models.families import COLUMNS, ROWS, SPLIT


@pytest.mark.parametrize("family", sorted(SPLIT))
def test_a_family_is_split_as_transformers_splits_it(family: str) -> None:
    plan = AutoConfig.for_model(family).base_model_tp_plan
    found = {name.rpartition(".")[2]: style for name, style in plan.items()}
    assert found == dict.fromkeys(COLUMNS, "colwise") | dict.fromkeys(ROWS, "rowwise")
