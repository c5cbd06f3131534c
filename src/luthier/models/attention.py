"""Attention over packed segments: each row sees itself and the segments it continues, nothing else.

One implementation, registered with transformers as `packed`, serves training, scoring and decoding. The model is
called without a mask; what a token may see comes in as `segments=` (the forest of a batch), and while decoding as
`memory=` (the keys and values of earlier tokens).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from luthier.data.forest import Segment, rooted
from luthier.errors import ModelError
from luthier.models import attention_cpu
from luthier.models.visible import Part, ancestry, bias, gather, parts

NAME = "packed"
"""What transformers knows the attention of this module by."""
UNSUPPORTED = ("softcap", "s_aux")


class Memory:
    """Keys and values of B rows of different length, by layer: the cache of decoding.

    Buffers are (B, kv heads, room, D); row b holds `lengths[b]` tokens and passes `adapters[b]`. `record` fills them
    from a packed forward; `append` adds the token that each row is decoding, which the caller counts with `advance`
    once all layers ran.
    """

    def __init__(
        self, segments: Sequence[Segment], rows: Sequence[int], room: int, device: torch.device | str = "cpu"
    ) -> None:
        self.segments, self.rows, self.room = segments, rows, room
        self.adapters = [segments[row].adapter for row in rows]
        lengths = [sum(end - start for start, end in ancestry(segments, segments[row])) for row in rows]
        self.lengths = torch.tensor(lengths, device=device)
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def root(self, tokens: int) -> None:
        """Have so many virtual tokens before all rows, which the packed forward that follows lays first."""
        self.segments, self.rows = rooted(self.segments, tokens), [row + 1 for row in self.rows]
        self.room, self.lengths = self.room + tokens, self.lengths + tokens

    def record(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Keep each row's part of a packed forward: key, value (1, kv heads, T, D)."""
        for store, states in ((self.keys, key), (self.values, value)):
            buffer = store[layer] = states.new_zeros(len(self.rows), states.shape[1], self.room, states.shape[3])
            for index, row in enumerate(self.rows):
                own = gather(states, ancestry(self.segments, self.segments[row]))
                buffer[index, :, : own.shape[2]] = own[0]

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Add one token a row, (B, kv heads, 1, D); returns keys, values and which of them each row has."""
        place = torch.arange(len(self.lengths), device=key.device)
        self.keys[layer][place, :, self.lengths] = key[:, :, 0]
        self.values[layer][place, :, self.lengths] = value[:, :, 0]
        longest = int(self.lengths.max()) + 1
        present = torch.arange(longest, device=key.device) <= self.lengths[:, None]
        return self.keys[layer][:, :, :longest], self.values[layer][:, :, :longest], present

    def advance(self) -> None:
        """Count the token that was appended in every layer."""
        self.lengths = self.lengths + 1

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self.lengths = self.lengths[rows]
        self.adapters = [self.adapters[row] for row in rows.tolist()]
        for store in (self.keys, self.values):
            for layer in store:
                store[layer] = store[layer][rows]


def packed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, segments: Sequence[Segment] | None = None,
    memory: Memory | None = None, sliding_window: int | None = None, prefix: Tensor | None = None, **options: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Scaled dot-product attention within each segment and its ancestors, or one decoding step over a memory.

    query: (B, heads, T, D); key, value: (B, kv heads, T, D), where B is 1 for a pack; returns (B, T, heads, D).
    prefix: (layers, 2, kv heads, V, D), keys and values of the first segment, whose V tokens have no queries.
    No token of another row contributes. Raises ModelError for attention variants that are not implemented here
    (soft-capping, sinks), and for models that do not hand `segments` through.
    """
    if any(options.get(name) is not None for name in UNSUPPORTED) or (segments is None and memory is None):
        raise ModelError("this model's attention cannot run on packed rows", where=type(module).__name__)
    if segments is None:
        assert memory is not None
        return _decode(module, query, key, value, memory, scaling, sliding_window), None
    if prefix is not None:
        own = prefix[_layer(module)]
        key, value = torch.cat([own[None, 0], key], 2), torch.cat([own[None, 1], value], 2)
    if memory is not None:
        memory.record(_layer(module), key, value)
    causal = bool(getattr(module, "is_causal", True))
    seen: list[Part] = list(parts(segments, causal, sliding_window, key.shape[2] - query.shape[2]))
    if attention_cpu.suits(query, value, dropout):
        return attention_cpu.attend(query, key, value, seen, scaling), None
    outputs = [
        F.scaled_dot_product_attention(
            query[:, :, part.start : part.end], gather(key, part.spans), gather(value, part.spans),
            attn_mask=bias(part, query), is_causal=part.plain and part.causal, dropout_p=dropout, scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        ).transpose(1, 2)
        for part in seen
    ]  # fmt: skip
    return torch.cat(outputs, 1), None


def register() -> None:
    """Make `packed` known to transformers; calling it again changes nothing."""
    AttentionInterface.register(NAME, packed_attention)


def _decode(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    memory: Memory,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """One token a row: the query heads that share a key head become the query positions of one small product."""
    keys, values, seen = memory.append(_layer(module), key, value)
    if window is not None:
        seen = seen & (torch.arange(seen.shape[1], device=seen.device) > memory.lengths[:, None] - window)
    rows, heads, _, width = query.shape
    grouped = query.view(rows, key.shape[1], heads // key.shape[1], width)
    out = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=seen[:, None, None], scale=scaling)
    return out.reshape(rows, 1, heads, values.shape[3])


def _layer(module: nn.Module) -> int:
    return module.layer_idx  # type: ignore[return-value]
