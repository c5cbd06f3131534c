"""Models of every family without weights are filled from files as transformers fills them, or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from families import folder_of
from policies import distance, files_of, language_rows
from torch import Tensor

from luthier.data.batch import pack
from luthier.errors import ModelError
from luthier.models.families import DECODERS, ENCODERS
from luthier.models.load import load_base
from luthier.models.locate import ModelFiles

WITHOUT_LINEAR = {"falcon", "gpt2"}
"""Their layers are transformers' own kind."""
OTHER_NAMES = {"glm4_moe", "granitemoe", "mixtral", "olmoe", "qwen2_moe", "qwen3_moe", "deepseek_v2", "deepseek_v3",
               "gpt_neox", "nomic_bert"}  # fmt: skip
"""Their files name matrices otherwise than the model, or hold experts apart that the model holds in one piece."""


def states(files: ModelFiles) -> Tensor:
    policy = load_base(files)
    with policy.evaluating():
        return policy.hidden(pack([row for row in language_rows() if len(row.ids) <= 40]))


@pytest.mark.parametrize("family", sorted(DECODERS | ENCODERS))
def test_filled_from_files(family: str, tiny_llama: Path, tmp_path: Path) -> None:
    files = files_of(folder_of(family, tmp_path, tiny_llama))
    if family in WITHOUT_LINEAR:
        for way in ({"number_format": "int8"}, {"streamed": True}):
            with pytest.raises(ModelError, match="linear layers"):
                states(replace(files, **way))
        return
    resident = states(files)
    assert 0 < distance(states(replace(files, number_format="int8")), resident) < 0.1
    if family in OTHER_NAMES:
        with pytest.raises(ModelError, match="as the model has it"):
            states(replace(files, streamed=True))
    else:
        assert torch.equal(states(replace(files, streamed=True)), resident)
