"""Merging an adapter into its base, and how far the merged logits are from the adapter's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier.data.stream import Rows, packed
from luthier.errors import ModelError
from luthier.models.adapt.table import UNMERGED, kind_of_adapter
from luthier.models.load import load_policy, trained_on
from luthier.models.locate import ModelFiles

PROBE_ROWS = 4
PROBE_TOKENS = 512


def merge_difference(files: ModelFiles, adapter: Path, rows: Rows) -> float | None:
    """The largest difference that `merge` makes to a logit, over the largest logit, on a few rows of data.

    None where there is nothing to merge (the output over the vocabulary or the adapter is missing), and where
    `not_merged` says why it cannot be.
    """
    if files.kind != "decoder" or kind_of_adapter(adapter) is None or not_merged(adapter):
        return None
    files = trained_on(files, adapter)
    policy = load_policy(files, adapter)
    chosen = [i for i in range(len(rows)) if rows.lengths[i] <= PROBE_TOKENS][:PROBE_ROWS] or [0]
    with policy.evaluating():
        batches = packed(rows, PROBE_TOKENS)(chosen)
        before = [policy.vocab_logits(policy.hidden(batch)) for batch in batches]
    policy = load_policy(files, adapter, dequantised=True) if files.load_in_4bit else policy
    policy.wrapped.merge_adapter()  # type: ignore[operator]
    with policy.evaluating():
        after = [policy.vocab_logits(policy.hidden(batch)) for batch in batches]
    apart = max(float((a - b).abs().max()) for a, b in zip(after, before, strict=True))
    return apart / max(float(b.abs().max()) for b in before)


def not_merged(adapter: Path) -> str | None:
    """Why the adapter in this folder cannot be merged; None where it can, or where there is none."""
    return UNMERGED.get(kind_of_adapter(adapter) or "")


def merge(files: ModelFiles, adapter: Path, target: Path) -> None:
    """Write the base with the adapter merged into it, as an ordinary model folder with the base's tokenizer.

    An adapter that was trained on four bits is added to the values that these held, in float32. Raises
    ModelError for an adapter that cannot be merged.
    """
    import shutil

    why = not_merged(adapter)
    if why:
        raise ModelError(why, str(adapter), "Use the adapter on its base")
    policy = load_policy(files, adapter, dequantised=True)
    merged: Any = policy.wrapped.merge_and_unload()  # type: ignore[operator]
    merged.save_pretrained(str(target))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
        if (files.folder / name).exists():
            shutil.copyfile(files.folder / name, target / name)
