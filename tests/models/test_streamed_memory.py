"""What a base that stays in its files takes of memory, beside one that is loaded; a process each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM

LARGE = LlamaConfig(
    vocab_size=512, hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
    max_position_embeddings=256,
)  # fmt: skip
STEP = """
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from luthier.engine.allocator import keep_pages
keep_pages()
from policies import files_of, gradient
from luthier.data.batch import pack
from luthier.data.forest import Row
from luthier.models.load import make_policy
from luthier.objectives import TABLE
from luthier.recipe import Adapter, Objective

def peak():  # of this process alone: what rusage says begins with that of the process which started it
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

before = peak()
files = replace(files_of(Path(sys.argv[1])), streamed=sys.argv[2] == "streamed")
policy = make_policy(files, Adapter(lora_r=4), seed=0)
batch = pack([Row(np.arange(n) % 500, np.ones(n, np.float32), n) for n in (20, 30)])
found = gradient(policy, TABLE["sft"](Objective(), False), [batch])
print(json.dumps({"imports": before, "peak": peak(), "sum": float(found.double().abs().sum())}))
"""


@pytest.mark.slow
def test_a_base_in_its_files_takes_less_than_a_third_of_the_memory(tmp_path: Path) -> None:
    torch.manual_seed(0)
    LlamaForCausalLM(LARGE).save_pretrained(tmp_path / "base")
    Tokenizer(models.BPE({"a": 0}, [])).save(str(tmp_path / "base" / "tokenizer.json"))
    found = {}
    for way in ("resident", "streamed"):
        paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        out = subprocess.run(
            [sys.executable, "-c", STEP, str(tmp_path / "base"), way], capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONPATH": paths},
        )  # fmt: skip
        found[way] = json.loads(out.stdout.splitlines()[-1])
    print(json.dumps(found))
    assert found["resident"]["sum"] == found["streamed"]["sum"]
    assert found["streamed"]["peak"] < found["resident"]["peak"] / 3
