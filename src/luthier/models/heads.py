"""The classification head: labels, a linear layer, and its files beside the adapter's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


@dataclass(frozen=True)
class HeadConfig:
    """What a head needs besides its weights: labels in the order of its outputs, and how rows are pooled."""

    labels: tuple[str, ...]
    multi_label: bool
    pooling: str
    normalise: bool
    hidden_size: int


class Head(nn.Module):
    """Pooled vectors (R, H) → logits (R, C). Starts at zero, so the first loss is ln C and no class is preferred.

    With `normalise`, vectors are scaled to length 1 first, as sentence encoders were trained to be used.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.hidden_size, len(config.labels))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, pooled_RH: Tensor) -> Tensor:
        """Logits (R, C)."""
        return self.linear(nn.functional.normalize(pooled_RH, dim=-1) if self.config.normalise else pooled_RH)

    def save(self, folder: Path) -> None:
        """Write `head.safetensors` and `head.json`."""
        save_file(
            {name: value.contiguous() for name, value in self.state_dict().items()},
            folder / "head.safetensors",
        )
        (folder / "head.json").write_text(
            json.dumps(self.config.__dict__, indent=1, ensure_ascii=False), encoding="utf-8"
        )

    @classmethod
    def load(cls, folder: Path) -> Head:
        """The head whose files lie in `folder`."""
        raw = json.loads((folder / "head.json").read_text(encoding="utf-8"))
        head = cls(HeadConfig(**raw | {"labels": tuple(raw["labels"])}))
        head.load_state_dict(load_file(folder / "head.safetensors"))
        return head

    def decide(self, logits_RC: Tensor) -> list[str] | list[tuple[str, ...]]:
        """The label of each row; all labels above probability one half where there can be several."""
        labels = self.config.labels
        if not self.config.multi_label:
            return [labels[i] for i in logits_RC.argmax(1).tolist()]
        return [tuple(labels[i] for i in torch.nonzero(row > 0)[:, 0].tolist()) for row in logits_RC]
