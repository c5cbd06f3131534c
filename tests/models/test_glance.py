"""The shape of a base model without its weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.errors import ModelError
from luthier.models.glance import glance
from luthier.models.locate import locate


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_bert"])
def test_a_glance_sees_what_locating_finds(model: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = request.getfixturevalue(model)
    files = locate(str(folder), tmp_path)
    assert glance(str(folder)) == (files.config, files.num_parameters)


def test_a_packaged_model_need_not_be_converted() -> None:
    config, parameters = glance("smollm2-135m-instruct")
    assert parameters == 134_515_008
    assert (config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]) == (576, 30, 49152)
    assert config["max_position_embeddings"] == 8192


def test_what_is_not_here_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("nobody/nothing", str(tmp_path / "gone")):
        with pytest.raises(ModelError, match="is not on this machine"):
            glance(name)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ModelError, match="safetensors"):
        glance(str(tmp_path))
