"""Models are asked as a server would ask them."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.jobs.answering import measured
from luthier.store import Home


@pytest.mark.slow
def test_what_can_be_served_is_measured_and_what_cannot_says_why(home: Home, tiny_llama: Path, tiny_bert: Path) -> None:
    told: list[str] = []
    found, refused = measured(home, [str(tiny_llama), str(tiny_bert), "nobody"], told.append)
    writer, reader = found
    assert (writer.model, reader.model) == (str(tiny_llama), str(tiny_bert))
    assert writer.memory_bytes > 100 << 20
    assert writer.tokens_per_second > 0
    assert (writer.together_tokens_per_second or 0) > writer.tokens_per_second
    assert reader.tokens_per_second > 0
    assert reader.together_tokens_per_second is None
    assert "no model is called 'nobody'" in refused["nobody"]
    assert told[0] == f"measuring {tiny_llama}"
