"""Merging an adapter into its base, and how far the merged logits are from the adapter's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luthier.data.stream import Rows, packed
from luthier.errors import ModelError
from luthier.models.load import load_policy
from luthier.models.locate import ModelFiles

VIRTUAL = "prefix and prompt tuning put tokens before the rows and change no weight of the base"
PROBE_ROWS = 4
PROBE_TOKENS = 512


def merge_difference(files: ModelFiles, adapter: Path, rows: Rows) -> float | None:
    """The largest difference that merging makes to a logit, over the largest logit, on a few rows of data.

    None where there is nothing to merge: the output over the vocabulary or the adapter is missing, or the adapter is
    made of virtual tokens.
    """
    if files.kind != "decoder" or not (adapter / "adapter_config.json").exists() or unmergeable(adapter):
        return None
    policy = load_policy(files, adapter)
    if policy.lm_head is None:
        return None
    chosen = [i for i in range(len(rows)) if rows.lengths[i] <= PROBE_TOKENS][:PROBE_ROWS] or [0]
    with policy.evaluating():
        batches = packed(rows, PROBE_TOKENS)(chosen)
        before = [policy.vocab_logits(policy.hidden(batch)) for batch in batches]
        policy.wrapped.merge_adapter()  # type: ignore[operator]
        after = [policy.vocab_logits(policy.hidden(batch)) for batch in batches]
    apart = max(float((a - b).abs().max()) for a, b in zip(after, before, strict=True))
    return apart / max(float(b.abs().max()) for b in before)


def unmergeable(adapter: Path) -> str | None:
    """Why the adapter in the folder cannot be merged into its base's weights; None where it can, or there is none."""
    config = adapter / "adapter_config.json"
    kind = json.loads(config.read_text(encoding="utf-8"))["peft_type"] if config.exists() else None
    return VIRTUAL if kind in ("PREFIX_TUNING", "PROMPT_TUNING") else None


def merge(files: ModelFiles, adapter: Path, target: Path) -> None:
    """Write the base with the adapter merged into it, as an ordinary model folder with the base's tokenizer.

    Raises ModelError for virtual tokens, which no weight can stand for.
    """
    import shutil

    why = unmergeable(adapter)
    if why:
        raise ModelError(f"cannot be merged: {why}", str(adapter), "Use it on its base")
    policy = load_policy(files, adapter)
    merged: Any = policy.wrapped.merge_and_unload()  # type: ignore[operator]
    merged.save_pretrained(str(target))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
        if (files.folder / name).exists():
            shutil.copyfile(files.folder / name, target / name)
