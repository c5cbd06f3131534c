"""Which slot of llama.cpp's an answer gets."""

from __future__ import annotations

from collections import deque
from unittest.mock import Mock

import pytest

from luthier.serve.engines.engine import Ask
from luthier.serve.engines.llama_answer import Answer
from luthier.serve.engines.llama_cpp import WORTH_TOKENS, LlamaEngine, Slot, best

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


def test_who_comes_waits_for_the_slot_of_an_answer_that_has_ended() -> None:
    given: list[int] = []
    engine = object.__new__(LlamaEngine)
    first, second = (Answer(Ask(id, PROMPT, 1), lambda piece: None, 1, 9) for id in "ab")
    engine._waiting, engine._free, engine._writing = deque([second]), [Slot(1)], [first]
    engine._writers = Mock(submit=lambda write, answer, slot: given.append(slot.number))
    first.end("stop")
    engine._give_out()
    assert given == []
    engine._writing.remove(first)
    engine._free.append(Slot(0))
    engine._give_out()
    assert given == [0]
