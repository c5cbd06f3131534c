"""What is known of a step on a GPU without one: shapes of models, operations, and shares of a card's peak."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Trained = Literal["lora", "full"]
STEP_TOKENS = 16_384
"""Tokens of a step, in rows of the case's length."""
ROOM = 50e9
"""Bytes for the states of a step."""
PEAKS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "A10": 125.0, "4090": 165.0,
         "3090": 71.0, "T4": 65.0}  # fmt: skip
"""Part of a card's name → TFLOP/s of its data sheet, dense bfloat16 (T4: float16), with sums in float32."""


@dataclass(frozen=True)
class Shape:
    """A decoder by its numbers; the keys are those of config.json."""

    model_type: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool = True
    max_position_embeddings: int = 8192

    @property
    def trunk(self) -> int:
        """Weights that multiply every token."""
        attention = 2 * self.hidden_size * self.head_dim * (self.num_attention_heads + self.num_key_value_heads)
        return self.num_hidden_layers * (attention + 3 * self.hidden_size * self.intermediate_size)

    @property
    def head(self) -> int:
        """Weights of the output layer."""
        return self.vocab_size * self.hidden_size

    def config(self) -> dict[str, Any]:
        """What config.json says."""
        return asdict(self) | {"architectures": [ARCHITECTURES[self.model_type]], "rms_norm_eps": 1e-5,
                               "hidden_act": "silu", "dtype": "bfloat16"}  # fmt: skip


ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
SHAPES = {
    "Qwen2.5-0.5B": Shape("qwen2", 896, 4864, 24, 14, 2, 64, 151_936),
    "Llama-3.2-1B": Shape("llama", 2048, 8192, 16, 32, 8, 64, 128_256),
    "Llama-3.2-3B": Shape("llama", 3072, 8192, 28, 24, 8, 128, 128_256),
    "Llama-3.1-70B": Shape("llama", 8192, 28_672, 80, 64, 8, 128, 128_256, tie_word_embeddings=False),
}
LARGE = "Llama-3.1-70B"


@dataclass(frozen=True)
class Step:
    """A step of `STEP_TOKENS` random tokens, all of which are learnt."""

    shape: str
    trained: Trained
    length: int

    @property
    def name(self) -> str:
        """As it is told."""
        return f"{self.shape}, {self.trained}, {self.length} tokens a row"

    @property
    def rows(self) -> int:
        """Of a step."""
        return STEP_TOKENS // self.length


STEPS = [Step(shape, trained, length) for shape in SHAPES if shape != LARGE for trained in ("lora", "full")
         for length in (2048, 4096, 8192)]  # fmt: skip


def again(shape: Shape) -> bool:
    """Whether all sides compute blocks again: where the states of a step would take most of a card of 80 GB.

    34 numbers of two bytes for each token, layer and unit of the hidden size.
    """
    return 34 * 2.0 * STEP_TOKENS * shape.num_hidden_layers * shape.hidden_size > ROOM


def step_flop(shape: Shape, trained: Trained, length: int, rows: int) -> float:
    """Operations of a step that any implementation needs; what is computed again does not count.

    2 a weight and token forward, as many for the gradient of the input, and as many for that of the weight where it is
    trained. Attention: 4 a pair of tokens and unit of a head's width forward, half of which a causal mask leaves, and
    twice that backward (Dao 2023, arXiv:2307.08691, section 4.1).
    """
    weights = (6 if trained == "full" else 4) * (shape.trunk + shape.head) * length * rows
    width = shape.num_attention_heads * shape.head_dim
    return float(weights + 6 * shape.num_hidden_layers * width * length**2 * rows)


def peak_tflops(card: str) -> float | None:
    """Of the data sheet; None for a card that is not listed."""
    return next((peak for part, peak in PEAKS.items() if part in card), None)


def mfu(flop: float, seconds: float, tflops: float) -> float:
    """Operations a second over the card's peak."""
    return flop / seconds / (tflops * 1e12)


def write_folder(shape: Shape, folder: Path) -> None:
    """config.json and a tokenizer of single bytes; weights are drawn by whoever opens it on a GPU."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(shape.config()))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate([*alphabet, "<end>"])}, []))
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>", "pad_token": "<end>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
