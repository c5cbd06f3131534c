"""Rows of a model whose attention cannot be packed, run through its own forward pass.

Such a model would not hand segments through to its attention, so each row of a pack goes through it as it would
alone, padded to the length of others, with a mask. Its states come back in the order of the pack: whatever works
with packed batches works with these. What rows share is computed once for each of them, and a decoding step runs
over the whole row again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from luthier.data.forest import Segment
from luthier.errors import ModelError
from luthier.models.attention import Memory, Shelves, ancestry

MOST_PADDING = 0.25
"""Rows are padded together as long as the shortest lacks no more than this share of the longest."""


class Padded(nn.Module):
    """A trunk that is called with packed batches, around one that takes padded rows.

    Positions are left to the model, which counts each row's from its beginning.
    """

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        config: Any = trunk.config
        self.padding: int = config.pad_token_id or 0
        self.cacheless = {"use_cache": False} if hasattr(config, "use_cache") else {}

    def forward(
        self, input_ids: Tensor, position_ids: Tensor | None = None, segments: Sequence[Segment] | None = None,
        memory: Memory | Shelves | None = None, use_cache: bool | None = None, **options: Any,
    ) -> BaseModelOutput:  # fmt: skip
        """States (1, T, H) of a pack; without segments, (B, 1, H) after one more token of each row in `memory`.

        Raises ModelError for anything else that a packed trunk may be told, which would be lost on the way.
        """
        if options:
            raise ModelError(f"padded rows cannot be given {', '.join(options)}", type(self.trunk).__name__)
        if segments is None:
            assert memory is not None
            return BaseModelOutput(last_hidden_state=self._decode(input_ids, memory))  # type: ignore[arg-type]
        if memory is not None:
            assert isinstance(memory, Memory)
            memory.record(0, input_ids[:, None, :, None], input_ids[:, None, :, None])  # of a token it holds the id
        rows = [place.to(input_ids.device) for place in places(segments)]
        found, index, done = [], torch.empty_like(input_ids[0]), 0
        for group in alike([len(place) for place in rows]):
            ids = nn.utils.rnn.pad_sequence([input_ids[0, rows[i]] for i in group], True, -1)
            found.append(self._run(ids, ids >= 0).flatten(0, 1))
            for number, i in enumerate(group):
                start = done + number * ids.shape[1]
                index[rows[i]] = torch.arange(start, start + len(rows[i]), device=index.device)
            done += ids.numel()
        return BaseModelOutput(last_hidden_state=torch.cat(found)[index][None])  # type: ignore[arg-type]

    def _decode(self, ids_B1: Tensor, memory: Memory | Shelves) -> Tensor:
        found = []
        for rows, part in memory.parts():
            own = ids_B1[rows, None, :, None]
            ids, _ = part.append(0, own, own)
            states = self._run(ids[:, 0, :, 0], part.present)
            found.append(states[torch.arange(len(states), device=states.device), part.lengths][:, None])
        return torch.cat(found)

    def _run(self, ids_BL: Tensor, present_BL: Tensor) -> Tensor:
        ids = ids_BL.masked_fill(~present_BL, self.padding)
        return self.trunk(input_ids=ids, attention_mask=present_BL.long(), **self.cacheless).last_hidden_state


def places(segments: Sequence[Segment]) -> list[Tensor]:
    """Where in the pack the tokens of each row lie: of each segment that no other continues, its ancestors first."""
    continued = {segment.parent for segment in segments}
    leaves = [segment for number, segment in enumerate(segments) if number not in continued]
    return [torch.cat([torch.arange(*span) for span in ancestry(segments, leaf)]) for leaf in leaves]


def alike(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of rows in groups of like length, longest first."""
    groups: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not groups or lengths[number] < (1 - MOST_PADDING) * lengths[groups[-1][0]]:
            groups.append([])
        groups[-1].append(number)
    return groups
