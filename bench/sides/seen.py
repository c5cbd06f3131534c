"""What a model was shown, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch


class Seen:
    """A collator that remembers what it made."""

    def __init__(self, collator: Callable[[list[Any]], dict[str, Any]]) -> None:
        self.collator = collator
        self.batches: list[dict[str, Any]] = []

    def __call__(self, examples: list[Any]) -> dict[str, Any]:
        batch = self.collator(examples)
        self.batches.append(dict(batch))
        return batch

    def rows(self) -> Iterator[tuple[Any, Any]]:
        """Token ids of each row, and which of them are predicted; packs are cut where positions restart."""
        for batch in self.batches:
            counts = counted(batch)
            if "attention_mask" in batch:
                for ids, own, mask in zip(batch["input_ids"], counts, batch["attention_mask"].bool(), strict=True):
                    yield ids[mask].numpy(), own[mask].numpy()
            else:
                starts = (batch["position_ids"][0] == 0).nonzero()[:, 0].tolist()
                for a, b in zip(starts, [*starts[1:], None], strict=True):
                    yield batch["input_ids"][0, a:b].numpy(), counts[0, a:b].numpy()


def counted(batch: dict[str, Any]) -> torch.Tensor:
    """Which tokens of a batch are predicted; none where labels are classes."""
    if "completion_mask" in batch:
        return batch["completion_mask"].bool()
    labels = batch["labels"]
    return labels != -100 if labels.ndim > 1 else torch.zeros_like(batch["input_ids"], dtype=torch.bool)
