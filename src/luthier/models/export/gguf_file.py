"""A model folder as one GGUF file, for llama.cpp and what is built on it (github.com/ggml-org/ggml, docs/gguf.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quant_shape_to_byte_shape, quantize

from luthier.data.render import Renderer
from luthier.models.export.architecture import (
    check_architecture,
    frequency_factors,
    gguf_name,
    in_gguf_order,
    metadata,
)
from luthier.models.export.gguf_vocabulary import vocabulary
from luthier.models.export.tensors import read_tensor
from luthier.models.weights import Place, places, weight_files

Numbers = Literal["f32", "f16", "q8_0", "q4_1"]
TYPES = {"f32": GGMLQuantizationType.F32, "f16": GGMLQuantizationType.F16, "q8_0": GGMLQuantizationType.Q8_0,
         "q4_1": GGMLQuantizationType.Q4_1}  # fmt: skip
FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7, "q4_1": 3}
"""How llama.cpp numbers what most of a file's weights are held in."""
BLOCK = 32
"""Neighbours in a row that share a scale."""
Progress = Callable[[int, int], None]


def write_gguf(
    folder: Path, config: Mapping[str, Any], numbers: Numbers, target: Path, renderer: Renderer | None = None,
    name: str = "", progress: Progress = lambda done, total: None,
) -> None:  # fmt: skip
    """Write the weights, tokenizer and chat template of a model folder, one tensor in memory at a time.

    Matrices are held in `numbers`: `q4_1` keeps the embedding and the output in `q8_0`, as llama.cpp's own tool does;
    vectors stay float32. `renderer` is given where its chat template is not the folder's. Raises ModelError for a
    family or a tokenizer that llama.cpp would read in another way.
    """
    architecture = check_architecture(config)
    writer = GGUFWriter(target, architecture)
    about = metadata(config)
    for key, value in about.items():
        (writer.add_uint32 if isinstance(value, int) else writer.add_float32)(f"{architecture}.{key}", value)  # type: ignore[operator, arg-type]
    writer.add_type("model")
    writer.add_name(name or folder.name)
    writer.add_file_type(FILE_TYPES[numbers])
    writer.add_quantization_version(2)
    for key, value in vocabulary(renderer or Renderer.from_folder(folder), int(about["vocab_size"])).items():
        _add(writer, f"tokenizer.{key}", value)
    _weights(writer, folder, config, numbers, progress)
    writer.close()


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _weights(writer: GGUFWriter, folder: Path, config: Mapping[str, Any], numbers: Numbers, progress: Progress) -> None:
    stored = _stored(folder, config)
    kinds = {name: _kind(name, place.shape, numbers) for name, (_, place) in stored.items()}
    factors = frequency_factors(config)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for name, (_, place) in stored.items():
        shape = quant_shape_to_byte_shape(place.shape, kinds[name])
        writer.add_tensor_info(name, shape, np.dtype(np.uint8), math.prod(shape), kinds[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    for done, (name, (module, place)) in enumerate(stored.items(), 1):
        rows = in_gguf_order(module, read_tensor(place), config)
        writer.write_tensor_data(quantize(rows, kinds[name]).view(np.uint8))
        progress(done, len(stored))


def _kind(name: str, shape: tuple[int, ...], numbers: Numbers) -> GGMLQuantizationType:
    if len(shape) == 1:
        return GGMLQuantizationType.F32
    if numbers in ("q8_0", "q4_1") and shape[-1] % BLOCK:
        return GGMLQuantizationType.F16
    outer = name in ("token_embd.weight", "output.weight")
    return GGMLQuantizationType.Q8_0 if numbers == "q4_1" and outer else TYPES[numbers]


def _stored(folder: Path, config: Mapping[str, Any]) -> dict[str, tuple[str, Place]]:
    """GGUF's name → the module, and where its numbers stand, of each tensor that llama.cpp reads."""
    found = {}
    for key, place in places(weight_files(folder)).items():
        module, _, part = key.rpartition(".")
        tied = key == "lm_head.weight" and config.get("tie_word_embeddings")
        if not tied and not key.endswith("rotary_emb.inv_freq"):
            found[f"{gguf_name(module)}.{part}"] = (module, place)
    return found
