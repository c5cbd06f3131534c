"""Attention over packed segments: each row sees itself and the segments it continues, nothing else.

One implementation, registered with transformers as `packed`, serves training, scoring and decoding. The model is
called without a mask; what a token may see comes in as `segments=` (the forest of a batch), and while decoding as
`memory=` (the keys and values of earlier tokens).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from luthier.data.forest import Segment, rooted
from luthier.errors import ModelError
from luthier.models import attention_cpu, attention_gpu
from luthier.models.attention_gpu import Pack, way_of
from luthier.models.visible import Part, ancestry, bias, gather, parts

NAME = "packed"
"""What transformers knows the attention of this module by."""
UNSUPPORTED = ("softcap", "s_aux")


class Memory:
    """Keys and values of B rows of different length, by layer: the cache of decoding.

    Buffers are (`places` ≥ B, kv heads, room, D); row b holds `lengths[b]` tokens and passes `adapters[b]`. `record`
    fills them from a packed forward; `append` adds the token that each row is decoding, which the caller counts with
    `advance` once all layers ran. Rows come by `join` and go by `keep`.
    """

    def __init__(
        self, segments: Sequence[Segment], rows: Sequence[int], room: int, device: torch.device | str = "cpu"
    ) -> None:
        self.segments, self.rows, self.room, self.places = segments, rows, room, len(rows)
        self.adapters = [segments[row].adapter for row in rows]
        lengths = [sum(end - start for start, end in ancestry(segments, segments[row])) for row in rows]
        self.lengths = torch.tensor(lengths, dtype=torch.int64, device=device)
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self._longest = 0
        self._change()

    def root(self, tokens: int) -> None:
        """Have so many virtual tokens before all rows, which the packed forward that follows lays first."""
        self.segments, self.rows = rooted(self.segments, tokens), [row + 1 for row in self.rows]
        self.room, self.lengths = self.room + tokens, self.lengths + tokens

    def record(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Keep each row's part of a packed forward: key, value (1, kv heads, T, D)."""
        for store, states in ((self.keys, key), (self.values, value)):
            buffer = self._buffer(store, layer, states)
            for place, row in enumerate(self.rows):
                own = gather(states, ancestry(self.segments, self.segments[row]))
                buffer[place, :, : own.shape[2]] = own[0]

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add one token a row, (B, kv heads, 1, D); returns keys and values (B, kv heads, longest, D)."""
        if not self._longest:
            self._longest = int(self.lengths.max()) + 1
            self._place = torch.arange(len(self.lengths), device=self.lengths.device)
        self.keys[layer][self._place, :, self.lengths] = key[:, :, 0]
        self.values[layer][self._place, :, self.lengths] = value[:, :, 0]
        rows = len(self.lengths)
        return self.keys[layer][:rows, :, : self._longest], self.values[layer][:rows, :, : self._longest]

    @property
    def present(self) -> Tensor:
        """Which of the tokens that `append` returned each row has, (B, longest)."""
        return torch.arange(self._longest, device=self.lengths.device) <= self.lengths[:, None]

    def bias(self, window: int | None, like: Tensor) -> Tensor | None:
        """What is added to the scores of `append`'s keys, (B, 1, 1, longest): 0 or -inf; None where all are seen."""
        if window not in self._biases:
            seen = self.present
            if window is not None:
                seen &= torch.arange(self._longest, device=seen.device) > self.lengths[:, None] - window
            hidden = torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill_(~seen, -torch.inf)
            self._biases[window] = None if bool(seen.all()) else hidden[:, None, None]
        return self._biases[window]

    def advance(self) -> None:
        """Count the token that was appended in every layer."""
        self.lengths = self.lengths + 1
        self._change()

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only, in this order. A row may move towards the front, not towards the end.

        Buffers become smaller where half of their places are free.
        """
        assert all(place <= row for place, row in enumerate(rows))
        moved = [(place, row, int(self.lengths[row])) for place, row in enumerate(rows) if place < row]
        for buffer in (*self.keys.values(), *self.values.values()):
            for place, row, length in moved:
                buffer[place, :, :length] = buffer[row, :, :length]
        self.lengths = self.lengths[torch.tensor(rows, dtype=torch.int64, device=self.lengths.device)]
        self.adapters = [self.adapters[row] for row in rows]
        if 2 * len(rows) <= self.places:
            self.places = len(rows)
            for store in (self.keys, self.values):
                for layer, buffer in store.items():
                    store[layer] = buffer[: self.places].clone()
        self._change()

    def join(self, other: Memory, rows: Sequence[int]) -> None:
        """Let these rows of another memory in, after those that are here."""
        self.places = self.places_for(len(rows))
        here, lengths = len(self.lengths), other.lengths[torch.tensor(rows, device=self.lengths.device)]
        self.lengths = torch.cat([self.lengths, lengths])
        self.adapters = [*self.adapters, *(other.adapters[row] for row in rows)]
        found = list(zip(range(here, len(self.lengths)), rows, lengths.tolist(), strict=True))
        for store, theirs in ((self.keys, other.keys), (self.values, other.values)):
            for layer, states in theirs.items():
                buffer = self._buffer(store, layer, states)
                for place, row, length in found:
                    buffer[place, :, :length] = states[row, :, :length]
        self._change()

    def places_for(self, rows: int) -> int:
        """How many rows there would be place for, once so many more have joined."""
        wanted = len(self.adapters) + rows
        return self.places if wanted <= self.places else max(wanted, self.places * 3 // 2)

    @property
    def token_bytes(self) -> int:
        """Of one token of one row."""
        buffers = (*self.keys.values(), *self.values.values())
        return sum(buffer.shape[1] * buffer.shape[3] * buffer.element_size() for buffer in buffers)

    def parts(self) -> Iterator[tuple[slice, Memory]]:
        """The rows, by memory."""
        yield slice(0, len(self.adapters)), self

    def _change(self) -> None:
        self._longest, self._biases = 0, dict[int | None, Tensor | None]()

    def _buffer(self, store: dict[int, Tensor], layer: int, states: Tensor) -> Tensor:
        """That of a layer, made anew where it has too few places; what no row has filled is finite."""
        old = store.get(layer)
        if old is None or len(old) < self.places:
            store[layer] = states.new_zeros(self.places, states.shape[1], self.room, states.shape[3])
            if old is not None:
                store[layer][: len(old)] = old
        return store[layer]


class Shelves:
    """Memories side by side, each with its own room: the rows of the first, then those of the second, and so on.

    Rows of very different length are decoded in one step, and none reads keys as far as the longest of all has some.
    """

    def __init__(self, memories: Sequence[Memory]) -> None:
        self.memories = memories
        self.adapters = [name for memory in memories for name in memory.adapters]
        self.lengths = torch.cat([memory.lengths for memory in memories])

    def parts(self) -> Iterator[tuple[slice, Memory]]:
        """The rows, by memory."""
        start = 0
        for memory in self.memories:
            yield slice(start, start + len(memory.adapters)), memory
            start += len(memory.adapters)

    def advance(self) -> None:
        """Count the token that was appended in every layer."""
        for memory in self.memories:
            memory.advance()


def packed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, segments: Sequence[Segment] | None = None,
    memory: Memory | Shelves | None = None, sliding_window: int | None = None, prefix: Tensor | None = None,
    **options: Any,
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
        own = prefix[_layer(module)].to(key.dtype)
        key, value = torch.cat([own[None, 0], key], 2), torch.cat([own[None, 1], value], 2)
    if memory is not None:
        assert isinstance(memory, Memory)
        memory.record(_layer(module), key, value)
    causal = bool(getattr(module, "is_causal", True))
    pack = Pack(tuple(segments), causal, sliding_window, key.shape[2] - query.shape[2])
    way = way_of(pack, query, value, dropout)
    if way != "parts":
        return attention_gpu.attend(way, pack, query, key, value, scaling), None
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
    memory: Memory | Shelves,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """One token a row: the query heads that share a key head become the query positions of one small product."""
    found = [
        _attend(memory, query[rows], *memory.append(_layer(module), key[rows], value[rows]), scaling, window)
        for rows, memory in memory.parts()
    ]
    return found[0] if len(found) == 1 else torch.cat(found)


def _attend(
    memory: Memory, query: Tensor, keys: Tensor, values: Tensor, scaling: float | None, window: int | None
) -> Tensor:
    rows, heads, _, width = query.shape
    grouped = query.view(rows, keys.shape[1], heads // keys.shape[1], width)
    out = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=memory.bias(window, query), scale=scaling)
    return out.reshape(rows, 1, heads, values.shape[3])


def _layer(module: nn.Module) -> int:
    return module.layer_idx  # type: ignore[return-value]
