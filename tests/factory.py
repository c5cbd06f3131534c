"""Tiny random models with real tokenizers, as folders: made in a fraction of a second, without torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
LAYERS, HIDDEN, HEADS, KV_HEADS, INNER, POSITIONS = 2, 32, 4, 2, 64, 512
Weights = dict[str, np.ndarray]

PAGE = """A luthier builds and mends stringed instruments: the violin, the cello, the guitar and the lute.
The wood of the top is spruce, light and stiff; the back and the ribs are maple, cut so that the flames match.
First the ribs are bent over a hot iron. Then the plates are carved, and thinned until they ring when tapped.
A bar of spruce is glued under the low strings, and a post is set behind the foot of the bridge.
The varnish protects the wood; too much of it makes the sound dull. Why? Because a heavy plate moves less.
When the strings are on, the maker listens, moves the post by half a millimetre, and listens again.
An instrument that is played every day sounds better than one that lies in its case for 20 years.
What does a new bridge cost? About 150 euros, and it takes 2 or 3 days. Can I wait for it? No, sorry.
The customer writes: my order is late, please refund me. The answer is: we are sorry, the money is on its way.
user: hello, how are you? assistant: I am well, thank you. system: you are a helpful assistant.
{"name": "repair", "arguments": {"part": "bridge", "days": 3}} is a call; labels: refund, delivery, other.
"""


def write_tiny_llama(folder: Path, seed: int = 0) -> Path:
    """A two-layer Llama, tied embeddings; byte-level BPE tokenizer of 400 tokens, ChatML template."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _bpe(400)
    size = tokenizer.get_vocab_size()
    save_file(_llama_weights(np.random.default_rng(seed), size), folder / "model.safetensors", {"format": "pt"})
    ids = {f"{name}_token_id": index for name, index in (("bos", 1), ("eos", 2), ("pad", 0))}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_key_value_heads": KV_HEADS,
        "head_dim": HIDDEN // HEADS,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        **ids,
    }
    special = {"bos_token": SPECIAL[1], "eos_token": SPECIAL[2], "pad_token": SPECIAL[0]}
    _write(folder, config, tokenizer, {**special, "chat_template": CHATML})
    (folder / "generation_config.json").write_text(json.dumps(ids))
    return folder


def write_tiny_bert(folder: Path, seed: int = 0) -> Path:
    """A two-layer BERT with a lower-casing WordPiece tokenizer, dropout 0.1 as BERT has it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _wordpiece()
    size = tokenizer.get_vocab_size()
    save_file(_bert_weights(np.random.default_rng(seed), size), folder / "model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "type_vocab_size": 2,
        "attention_probs_dropout_prob": 0.1,
        "hidden_dropout_prob": 0.1,
        "pad_token_id": 0,
    }
    names = ("pad", "unk", "cls", "sep", "mask")
    _write(folder, config, tokenizer, {f"{name}_token": f"[{name.upper()}]" for name in names})
    return folder


def _write(folder: Path, config: dict[str, Any], tokenizer: Tokenizer, tokenizer_config: dict[str, Any]) -> None:
    sizes = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps({**config, **sizes}))
    tokenizer.save(str(folder / "tokenizer.json"))
    common = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": POSITIONS}
    (folder / "tokenizer_config.json").write_text(json.dumps({**common, **tokenizer_config}))


def _bpe(size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([PAGE.replace("\n", "\n\n\n")], trainer)  # learns to merge newlines, too
    return tokenizer


def _wordpiece() -> Tokenizer:
    """Every printable character, alone and inside a word, and every word of the page: 5 + 2 · 69 + words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    words = sorted(set(re.findall(r"[a-z]{2,}", PAGE.lower())))
    tokens = [*special, *characters, *(f"##{character}" for character in characters), *words]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(special)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _llama_weights(rng: np.random.Generator, vocabulary: int) -> Weights:
    kv = HIDDEN // HEADS * KV_HEADS
    shapes = {"model.embed_tokens.weight": (vocabulary, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        start = f"model.layers.{layer}"
        shapes |= {
            f"{start}.input_layernorm.weight": (HIDDEN,),
            f"{start}.self_attn.q_proj.weight": (HIDDEN, HIDDEN),
            f"{start}.self_attn.k_proj.weight": (kv, HIDDEN),
            f"{start}.self_attn.v_proj.weight": (kv, HIDDEN),
            f"{start}.self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            f"{start}.post_attention_layernorm.weight": (HIDDEN,),
            f"{start}.mlp.gate_proj.weight": (INNER, HIDDEN),
            f"{start}.mlp.up_proj.weight": (INNER, HIDDEN),
            f"{start}.mlp.down_proj.weight": (HIDDEN, INNER),
        }
    return {name: _draw(rng, name, shape) for name, shape in shapes.items()}


def _bert_weights(rng: np.random.Generator, vocabulary: int) -> Weights:
    shapes = {
        "embeddings.word_embeddings.weight": (vocabulary, HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        **_norm("embeddings.LayerNorm"),
    }
    for layer in range(LAYERS):
        start = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= _linear(f"{start}.attention.{part}", HIDDEN, HIDDEN)
        shapes |= _norm(f"{start}.attention.output.LayerNorm")
        shapes |= _linear(f"{start}.intermediate.dense", INNER, HIDDEN)
        shapes |= _linear(f"{start}.output.dense", HIDDEN, INNER)
        shapes |= _norm(f"{start}.output.LayerNorm")
    shapes |= _linear("pooler.dense", HIDDEN, HIDDEN)
    return {name: _draw(rng, name, shape) for name, shape in shapes.items()}


def _linear(name: str, out: int, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (HIDDEN,), f"{name}.bias": (HIDDEN,)}


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Norms start at 1 and biases at 0, as usual; matrices are wide enough to matter."""
    if len(shape) == 1:
        value = np.ones(shape) if "norm" in name.lower() and name.endswith("weight") else np.zeros(shape)
    else:
        value = rng.normal(0, 0.2, shape)
    return value.astype(np.float32)
