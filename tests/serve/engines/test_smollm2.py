"""The engines on a real model: the words of transformers, and characters of several tokens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from listening import Heard, hear
from transformers import AutoModelForCausalLM

from luthier.data.render import Renderer
from luthier.errors import ModelError
from luthier.models.export.gguf_header import read_header
from luthier.models.load import load_base
from luthier.models.locate import locate
from luthier.models.packaged import packaged_texts, published_gguf
from luthier.serve.engines.characters import Characters
from luthier.serve.engines.engine import Ask
from luthier.serve.engines.llama_cpp import Header
from luthier.serve.engines.llama_server import Form, LlamaServer, Wish
from luthier.serve.engines.torch_engine import TorchEngine

TICKETS = Path(__file__).parents[3] / "examples" / "tickets" / "test.jsonl"
PROMPTS, LONGEST = 40, 24
WISH = "Write five emoji of animals: 🐈 🐕 🦊 and then the word for cat in Chinese and Japanese."
TIE = 1e-3
"""Logits this close to the best one may be chosen instead: they are sums of many numbers in another order."""


@pytest.mark.slow
def test_greedy_answers_are_those_of_transformers(tmp_path: Path) -> None:
    files = locate("smollm2-135m-instruct", tmp_path)
    renderer = Renderer.from_folder(files.folder)
    lines = TICKETS.read_text(encoding="utf-8").splitlines()[:PROMPTS]
    prompts = [renderer.prompt(json.loads(line)["messages"][:-1]) for line in lines]
    stop_ids = renderer.eos_ids
    engine = TorchEngine(load_base(files), files)
    try:
        asks = [Ask("", prompt, LONGEST, temperature=0.0, stop_ids=stop_ids) for prompt in prompts]
        found = hear(engine, asks)
    finally:
        engine.close()
    reference = AutoModelForCausalLM.from_pretrained(files.folder, dtype=torch.float32).eval()
    expected = [_greedy(reference, prompt, stop_ids) for prompt in prompts]
    different = [i for i in range(PROMPTS) if found[i].ids != expected[i]]
    assert all(_tie(reference, prompts[i], found[i], expected[i]) for i in different)
    assert len(different) <= PROMPTS // 20


@torch.no_grad()
def _greedy(reference: torch.nn.Module, prompt: list[int], stop_ids: tuple[int, ...]) -> list[int]:
    ids = torch.tensor([prompt])
    found = reference.generate(  # type: ignore[operator]
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=LONGEST, do_sample=False,
        eos_token_id=list(stop_ids), pad_token_id=0,
    )[0, len(prompt) :].tolist()  # fmt: skip
    return found[:-1] if found and found[-1] in stop_ids else found


@torch.no_grad()
def _tie(reference: torch.nn.Module, prompt: list[int], found: Heard, expected: list[int]) -> bool:
    """Whether the first ids that differ were equally likely but for rounding."""
    both = list(zip(found.ids, expected, strict=False))
    place = next((k for k, (mine, theirs) in enumerate(both) if mine != theirs), None)
    if place is None:
        return False
    logits = reference(torch.tensor([[*prompt, *expected[:place]]])).logits[0, -1]
    mine, theirs = both[place]
    return abs(float(logits[mine] - logits[theirs])) < TIE


def test_a_stream_names_all_ids_of_a_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = published_gguf("smollm2-135m-instruct")
    assert gguf is not None
    folder, header = packaged_texts("smollm2-135m-instruct", tmp_path), Header(read_header(gguf))
    ids = list(Renderer.from_folder(folder).prompt([{"role": "user", "content": WISH}]))
    server = LlamaServer(gguf, [], Form(1, 512, 16, 2, header.end, header.size), Characters(folder))
    try:
        animals = Wish(0, ids, 24)
        whole = [token.id for token in server.write(animals)]
        monkeypatch.setattr(server, "write", None)  # nothing is drawn again
        streamed: list[int] = []
        server.stream(animals, lambda tokens: bool(streamed.extend(token.id for token in tokens)) or True)
        assert streamed == whole
        assert {10813, 234} < set(streamed)
        with pytest.raises(ZeroDivisionError):
            server.stream(animals, lambda tokens: bool(1 // 0))
        with pytest.raises(ModelError, match="refuses"):
            server.stream(replace(animals, ids=[*ids] * 20), bool)  # more than the slot holds
    finally:
        server.close()
