"""Model files → a policy; a trained policy ↔ its folder."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from luthier.errors import ModelError
from luthier.models import attention
from luthier.models.adapt.blocks import blocks_of
from luthier.models.adapt.table import ADD, load_adapter, save_adapter
from luthier.models.families import ENCODERS, packs
from luthier.models.heads import Head, HeadConfig
from luthier.models.lean import make_lean, mark_last
from luthier.models.locate import ModelFiles
from luthier.models.losses_fused import SMALL_CHUNK, Finish
from luthier.models.packed import packed_model
from luthier.models.padded import Padded
from luthier.models.policy import Policy, position_offset
from luthier.models.precision import DTYPES, compute_in, held_in
from luthier.models.streamed import stream
from luthier.models.weights import places, weight_files
from luthier.recipe.types import Adapter
from luthier.recipe.values import Precision

transformers_logging.disable_progress_bar()

FULL = "model.safetensors"


def load_base(files: ModelFiles, device: str = "cpu", dequantised: bool = False) -> Policy:
    """The untouched base model, frozen, in the precision of `files`, with attention over packed segments.

    Where `files` ask for weights of fewer bits, `dequantised` gives float32 layers of the same values.
    """
    make = _Make(files.folder, files)
    if files.streamed and not dequantised:
        return _policy(stream(make.empty(), places(weight_files(files.folder)), device), files.kind, files.precision)
    if files.number_format == "float32":
        return _read(files.folder, files, device)
    policy = _policy(packed_model(files, make.empty, make.whole, device, dequantised), files.kind, files.precision)
    policy.head_chunk = SMALL_CHUNK if device == "cpu" else None
    return policy


POOLED_FAMILIES = ENCODERS - {"deberta", "deberta-v2", "distilbert", "electra", "eurobert", "modernbert"}
"""Encoders that come with a pooling layer, which nothing here uses."""


def make_policy(files: ModelFiles, adapter: Adapter, labels: tuple[str, ...] = (), multi_label: bool = False,
                seed: int = 0, device: str = "cpu") -> Policy:  # fmt: skip
    """The policy at step 0: the base, what the recipe's adapter adds to it, and a head where there are labels.

    All parameters that will be learnt, and no others, require gradients; they are float32 in every precision. New
    weights are drawn from `seed`.
    """
    policy = _read(files.folder, files, device, masters=True) if adapter.type == "full" else load_base(files, device)
    torch.manual_seed(seed)
    ADD[adapter.type](policy, adapter)
    _round(policy)
    if labels:
        policy.head = Head(head_config(policy, labels, multi_label)).to(device)
    return policy


def head_config(policy: Policy, labels: tuple[str, ...], multi_label: bool) -> HeadConfig:
    """Encoders are pooled by mean and normalised, as sentence encoders are; decoders by their last token."""
    size = policy.wrapped.config.hidden_size  # type: ignore[union-attr]
    return HeadConfig(labels, multi_label, policy.pooling, policy.pooling == "mean", int(size))  # type: ignore[arg-type]


def save_policy(policy: Policy, folder: Path, files: ModelFiles) -> None:
    """Write what was learnt: PEFT's adapter files, or all weights; the head beside it; and what it belongs to.

    `base_model_name_or_path` is the base's portable name, not the path on this machine; `luthier.json` adds the
    hash of the base's weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if hasattr(policy.wrapped, "peft_config"):
        save_adapter(policy.wrapped, folder)
        _name_base(folder / "adapter_config.json", files.name)
        (folder / "README.md").unlink(missing_ok=True)
    elif any(parameter.requires_grad for parameter in policy.wrapped.parameters()):
        policy.wrapped.save_pretrained(str(folder))  # type: ignore[operator]
    if policy.head is not None:
        policy.head.save(folder)  # type: ignore[operator]
    about = {"base_model": files.name, "base_sha256": files.sha256, "kind": files.kind,
             "load_in_4bit": files.number_format == "nf4", "load_in_8bit": files.number_format == "int8"}  # fmt: skip
    (folder / "luthier.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


def load_policy(files: ModelFiles, folder: Path, device: str = "cpu", dequantised: bool = False) -> Policy:
    """The base with what lies in `folder` on it, frozen; in as few bits as it was trained, unless `dequantised`.

    Raises ModelError where it was trained on another base.
    """
    files = trained_on(files, folder)
    policy = _read(folder, files, device) if (folder / FULL).exists() else load_base(files, device, dequantised)
    load_adapter(policy, folder)
    _round(policy)
    if (folder / "head.json").exists():
        policy.head = Head.load(folder).to(device)
    policy.train(False)
    return policy


def trained_on(files: ModelFiles, folder: Path) -> ModelFiles:
    """The base that `folder` was trained on, in the number format of the training.

    Raises ModelError where the weights are others.
    """
    about = json.loads((folder / "luthier.json").read_text(encoding="utf-8"))
    if about["base_sha256"] != files.sha256:
        raise ModelError(
            f"the adapter was trained on {about['base_model']} with weights {about['base_sha256'][:12]}, "
            f"but the base found has {files.sha256[:12]}", where=str(folder), mend="Use the base it was trained on.",
        )  # fmt: skip
    four, eight = about["load_in_4bit"], about.get("load_in_8bit", False)
    return replace(files, number_format="nf4" if four else "int8" if eight else "float32")


def _read(folder: Path, files: ModelFiles, device: str, masters: bool = False) -> Policy:
    """With `masters`, weights are float32 whatever they are computed with."""
    dtype = torch.float32 if masters else DTYPES[files.precision]
    return _policy(_Make(folder, files).whole(dtype).to(device), files.kind, files.precision, masters)


def _round(policy: Policy) -> None:
    if policy.computes is not None:
        compute_in(policy.wrapped, policy.computes)


class _Make:
    """A transformers model of the class and with the attention that this family needs."""

    def __init__(self, folder: Path, files: ModelFiles) -> None:
        attention.register()
        self.folder = folder
        self.kind: Any = AutoModelForCausalLM if files.kind == "decoder" else AutoModel
        family = str(files.config["model_type"])
        self.options: dict[str, Any] = {"add_pooling_layer": False} if family in POOLED_FAMILIES else {}
        self.options["attn_implementation"] = attention.NAME if packs(family) else None

    def whole(self, dtype: torch.dtype | str = "auto") -> Any:
        """With its weights; as its files have them, they are mapped and not yet read."""
        level = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()  # the pooling layer that is left out is no news
        try:
            return self.kind.from_pretrained(str(self.folder), dtype=dtype, local_files_only=True,
                                             use_safetensors=True, **self.options)  # fmt: skip
        finally:
            transformers_logging.set_verbosity(level)

    def empty(self) -> Any:
        """Without weights: its parameters lie on torch's device `meta`."""
        config = AutoConfig.from_pretrained(str(self.folder), local_files_only=True)
        with init_empty_weights(include_buffers=False):
            return self.kind.from_config(config, dtype=torch.float32, **self.options).eval()


def _policy(model: Any, kind: str, precision: Precision = "float32", masters: bool = False) -> Policy:
    model.requires_grad_(False)
    if precision != "float32" and not masters:
        held_in(model, DTYPES[precision])
    _silence_dropout(model)
    make_lean(model)
    decoder = kind == "decoder"
    if decoder:
        mark_last(blocks_of(model)[-1])
    trunk = model.base_model if decoder else model
    return Policy(
        trunk=trunk if packs(model.config.model_type) else Padded(trunk),
        wrapped=model,
        lm_head=_output_head(model) if decoder else None,
        pooling="last" if decoder else "mean",
        position_offset=position_offset(model.config),
        finish=_finish(model.config),
        computes=None if precision == "float32" else DTYPES[precision],
    )


def _silence_dropout(model: PreTrainedModel) -> None:
    """Turn off the noise that the model was pretrained with: packed rows are exact only without it.

    It stands in layers, in numbers of their own, or in the configuration that blocks look at. The model's own
    configuration, which is saved with it, keeps its values.
    """
    still = deepcopy(model.config)
    _silence(still)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        _silence(module)
        if "config" in vars(module) and not isinstance(module, PreTrainedModel):
            module.config = still  # type: ignore[assignment]


def _silence(owner: Any) -> None:
    for name, value in list(vars(owner).items()):
        if ("drop" in name or "jitter" in name) and isinstance(value, float):
            setattr(owner, name, 0.0)


def _output_head(model: Any) -> nn.Linear:
    head = model.get_output_embeddings()
    if head is None:
        raise ModelError("this model has no output layer over its vocabulary", where=type(model).__name__)
    return head


def _finish(config: Any) -> Finish:
    """What the families that scale or cap their logits have of it in their configuration."""
    scale = getattr(config, "logit_scale", None) or 1.0
    return Finish(
        scale / (getattr(config, "logits_scaling", None) or 1.0),
        getattr(config, "final_logit_softcapping", None),
    )


def _name_base(config: Path, name: str) -> None:
    raw = json.loads(config.read_text(encoding="utf-8"))
    raw["base_model_name_or_path"] = name
    for key in ("target_modules", "feedforward_modules"):
        if isinstance(raw.get(key), list):
            raw[key].sort()  # PEFT writes a set: one seed must give one file
    config.write_text(json.dumps(raw, indent=2), encoding="utf-8")
