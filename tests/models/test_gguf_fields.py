"""A GGUF file's own description, as the reference reader has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.errors import ModelError
from luthier.models.gguf_fields import read_fields


@pytest.fixture
def file(tmp_path: Path) -> Path:
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "any.gguf", "llama")
    writer.add_context_length(128)
    writer.add_rope_freq_base(1e5)
    writer.add_add_bos_token(False)
    writer.add_token_list(["a", "ü", ""])
    writer.add_token_types([1, 3, 1])
    writer.add_array("nested", [[1, 2], [3]])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return tmp_path / "any.gguf"


def test_every_field_is_that_of_the_reference(file: Path) -> None:
    found = read_fields(file)
    assert found["llama.context_length"] == 128
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert found["tokenizer.ggml.tokens"] == ["a", "ü", ""]
    assert found["tokenizer.ggml.token_type"] == [1, 3, 1]
    assert found["nested"] == [[1, 2], [3]]
    assert found["llama.rope.freq_base"] == 1e5


@pytest.mark.parametrize("cut", [0, 3, 10, 60, -3])
def test_what_is_no_gguf_is_said(file: Path, cut: int) -> None:
    broken = file.with_name("broken.gguf")
    broken.write_bytes(file.read_bytes()[:cut] if cut else b"PK\3\4 something else")
    with pytest.raises(ModelError, match=r"broken\.gguf: cannot be read as GGUF"):
        read_fields(broken)
