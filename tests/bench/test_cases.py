"""Every case names programs that are there, and the page says where another side is ahead."""

from __future__ import annotations

import ast

import page
import pytest
import torch
from harness.cases import CASES
from harness.output import ROOT
from seen import Seen

SIDES = ROOT / "bench" / "sides"


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_case_begins_with_luthier_and_its_programs_are_there(case) -> None:
    assert case.sides[0].environment == "luthier"
    assert len({side.name for side in case.sides}) == len(case.sides)
    for side in case.sides:
        ast.parse((SIDES / side.program).read_text())


def rows_of(batch: dict) -> list[tuple[list, list]]:
    seen = Seen(lambda examples: batch)
    seen([])
    return [(ids.tolist(), mask.tolist()) for ids, mask in seen.rows()]


def test_padding_is_not_seen() -> None:
    batch = {"input_ids": torch.tensor([[1, 2, 3], [4, 0, 0]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 0, 0]]),
             "labels": torch.tensor([[-100, 2, 3], [4, -100, -100]])}  # fmt: skip
    assert rows_of(batch) == [([1, 2, 3], [False, True, True]), ([4], [True])]


def test_packs_are_cut_where_positions_restart() -> None:
    batch = {"input_ids": torch.tensor([[1, 2, 3, 4, 5]]), "position_ids": torch.tensor([[0, 1, 0, 1, 2]]),
             "labels": torch.tensor([[-100, 2, -100, 4, 5]])}  # fmt: skip
    assert rows_of(batch) == [([1, 2], [False, True]), ([3, 4, 5], [False, True, True])]


def side(ratio: float, memory: float = 1e9, **more: float) -> dict:
    return {"rate": 100.0, "seconds": 1.0, "share": 0.5, "gemm_gflops": 200.0, "peak_memory_bytes": memory,
            "ratio": ratio, **more}  # fmt: skip


def test_the_page_says_where_luthier_is_behind() -> None:
    parity = {"rows": 4, "loss": 1.0, "eager_loss": 1.0, "gradient_norm": 1.0, "eager_gradient_norm": 1.0,
              "loss_difference": 1e-6, "norm_difference": 1e-6, "gradient_distance": 2e-3}  # fmt: skip
    found = {
        "case": "c", "title": "A case", "unit": "tokens", "remark": "", "turns": 5, "parity": parity,
        "sides": {"Luthier": side(1.0), "slow": side(2.5), "fast": side(0.5), "lean": side(2.0, 1e8),
                  "ill": {"failed": "out of memory"}},
    }  # fmt: skip
    text = page.behind({"c": found})
    assert "fast is 2.00 times as fast" in text
    assert "lean takes 0.10 GB" in text
    assert "out of memory" in text
    assert "gradient distance 2.0e-03" in text
    assert "slow" not in text
    assert "| slow | 100 | 50 % | 1.0 GB | 200 | 2.50 × |" in page.comparison(found)
