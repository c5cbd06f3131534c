"""Every case by its name."""

from __future__ import annotations

from harness.case import Case
from harness.cases import classify, dpo, evaluation, rendering, sft, startup

CASES: dict[str, Case] = {
    case.name: case for module in (sft, dpo, classify, evaluation, rendering, startup) for case in module.CASES
}
