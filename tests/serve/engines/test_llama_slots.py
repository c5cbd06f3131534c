"""Which slot of llama.cpp's an answer gets."""

from __future__ import annotations

import pytest

from luthier.serve.engines.engine import Ask
from luthier.serve.engines.llama_cpp import WORTH_TOKENS, Slot, best

PROMPT = list(range(3 * WORTH_TOKENS))


@pytest.mark.parametrize(
    ("remembered", "adapter", "number"),
    [
        (WORTH_TOKENS - 1, None, 1),  # too little for a slot apart from the others
        (WORTH_TOKENS, None, 4),
        (len(PROMPT), "tickets", 1),  # under another adapter
    ],
)
def test_the_first_unless_another_remembers_much(remembered: int, adapter: str | None, number: int) -> None:
    free = [Slot(4, PROMPT[:remembered], adapter), Slot(1), Slot(2)]
    assert best(free, Ask("", PROMPT, 1)).number == number
