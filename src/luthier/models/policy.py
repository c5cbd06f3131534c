"""The thing being tuned: a base with what is trained on it, behind a few verbs that speak in packed batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from luthier.data.batch import Batch
from luthier.errors import ModelError
from luthier.models.attention import Memory, Shelves
from luthier.models.context import told
from luthier.models.families import POSITIONS_BEHIND_PADDING
from luthier.models.lean import ASKED
from luthier.models.losses_chunked import OfLogits, from_logits
from luthier.models.losses_fused import AS_THEY_ARE, Finish, logits_in_chunks, token_logprobs
from luthier.models.precision import wide

Pooling = Literal["mean", "last"]
ENTRANCE: ContextVar[Tensor | None] = ContextVar("ENTRANCE", default=None)
"""The states (1, T, H) with which a forward pass enters the trunk (`models.entrance`); each thread has its own."""
VERBS = ("hidden", "logprobs", "values", "over_vocab", "from_logits", "vocab_logits", "step", "pooled", "class_logits")
"""The policy's methods that use the model's weights."""


@dataclass
class Policy:
    """A transformer trunk with an output head over the vocabulary, a classification head, or both.

    `trunk` returns hidden states; `lm_head` is the output embedding (None on encoders), and `finish` what the family
    does to its logits; `head` is a `heads.Head` for classification (None otherwise). `wrapped` is the module that owns
    the adapter and writes its files (PEFT's wrapper), or the transformers model itself. `value_head` (H → 1) says what
    reward a state promises; it is needed only while it is learnt, so it is part of checkpoints and not of the saved
    policy. `together`: a forward pass takes all processes of the run at once. `computes` is the type of the states
    inside the trunk where that is not the type of its weights' files (`models.precision`); heads are float32.
    `head_chunk` is how many targets have logits at a time while a gradient is taken, None for what is fastest.
    """

    trunk: nn.Module
    wrapped: nn.Module
    lm_head: nn.Linear | None = None
    head: nn.Module | None = None
    pooling: Pooling = "mean"
    position_offset: int = 0
    finish: Finish = AS_THEY_ARE
    value_head: nn.Linear | None = None
    together: bool = False
    computes: torch.dtype | None = None
    head_chunk: int | None = None

    def hidden(self, batch: Batch, asked: Tensor | None = None, **options: Any) -> Tensor:
        """The trunk's last hidden states, (T, H); of a batch with the token column `entrance`, from there on.

        Where tokens are `asked` for, the states of others need not be right.
        """
        states = batch.token_columns.get("entrance")
        entrance = None if states is None else states[None].to(self.computes or states.dtype)
        some = asked is not None and len(asked) and not asked.is_cuda  # a GPU would be waited for
        with told(ENTRANCE, entrance), told(ASKED, (len(batch.ids_T), torch.unique(asked)) if some else None):
            out = self.trunk(
                input_ids=batch.ids_T[None],
                position_ids=batch.positions_T[None] + self.position_offset,
                segments=batch.segments,
                **self._cacheless(),
                **options,
            )
        return out.last_hidden_state[0]

    def logprobs(self, batch: Batch, hidden: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """The log-probability of each target, (N,), under the logits over `temperature`.

        Logits exist for the sources only, a chunk at a time. `hidden` (T, H) saves the forward where it is known.
        """
        states = (self.hidden(batch, batch.source_N) if hidden is None else hidden)[batch.source_N]
        weight, bias = self._output(states.dtype)
        return token_logprobs(states, weight, batch.target_N, bias, self.finish.cooled(temperature), self.head_chunk)

    def values(self, batch: Batch, hidden: Tensor) -> Tensor:
        """What the value head expects at the source of each target, (N,), from the hidden states (T, H) over √H.

        AdamW moves all weights alike; without the root, a step would move the value √H times as far as a logit.
        """
        assert self.value_head is not None, "the feed of the objective makes the value head"
        states = hidden[batch.source_N].to(self.value_head.weight.dtype)
        return self.value_head(states / hidden.shape[1] ** 0.5)[:, 0]

    def over_vocab(self, batch: Batch, fn: Callable[[slice, Tensor], None]) -> None:
        """Call `fn(rows, logits)` with the logits (n, V) of successive slices of the N sources, without gradients."""
        with torch.no_grad():
            states = self.hidden(batch, batch.source_N)[batch.source_N]
            for rows, logits in logits_in_chunks(states, *self._output(states.dtype), self.finish):
                fn(rows, logits)

    def from_logits(self, batch: Batch, fn: OfLogits) -> Tensor:
        """`fn(rows, logits)`, one value for each of a slice of the N sources, over all of them: (N,), differentiable.

        Unlike `over_vocab`, which it otherwise resembles; logits exist a chunk at a time.
        """
        states = self.hidden(batch, batch.source_N)[batch.source_N]
        return from_logits(states, *self._output(states.dtype), lambda rows, logits: fn(rows, self.finish(logits)))

    def vocab_logits(self, hidden_BH: Tensor) -> Tensor:
        """All logits (B, V) of a few hidden states, for choosing next tokens."""
        logits = self._lm_head()(hidden_BH)
        return self.finish(logits.to(wide(logits.dtype)))

    def step(self, ids_B: Tensor, memory: Memory | Shelves) -> Tensor:
        """Decode one token a row: hidden states (B, H) after `ids_B`, which `memory` then holds."""
        out = self.trunk(
            input_ids=ids_B[:, None],
            position_ids=memory.lengths[:, None] + self.position_offset,
            memory=memory,
            **self._cacheless(),
        )
        memory.advance()
        return out.last_hidden_state[:, 0]

    def pooled(self, batch: Batch) -> Tensor:
        """One vector a row, (R, H): the mean of its tokens' hidden states, or the last one's.

        Rows that carry a `features` column have been through the (frozen) trunk already.
        """
        if "features" in batch.columns:
            return batch.column("features")
        hidden = self.hidden(batch, batch.last_R if self.pooling == "last" else None)
        hidden = hidden.to(wide(hidden.dtype))
        if self.pooling == "last":
            return hidden[batch.last_R]
        own = [batch.segments[leaf] for leaf in batch.leaves]
        owner = torch.repeat_interleave(
            torch.arange(batch.rows, device=hidden.device),
            batch.lengths_R,
            output_size=sum(s.end - s.start for s in own),
        )
        total = hidden.new_zeros(batch.rows, hidden.shape[1]).index_add(0, owner, hidden[: len(owner)])
        return total / batch.lengths_R[:, None]

    def class_logits(self, batch: Batch) -> Tensor:
        """Logits over the classes, (R, C)."""
        if self.head is None:
            raise ModelError("this model has no classification head", mend="Set `objective: classify`.")
        return self.head(self.pooled(batch))

    def modules(self) -> Iterator[nn.Module]:
        """The model, and the heads that it has."""
        yield from filter(None, (self.wrapped, self.head, self.value_head))

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that are learnt, by name; those of heads begin with `head.` and `value_head.`."""
        parts = {"": self.wrapped, "head.": self.head, "value_head.": self.value_head}
        named = ((start + name, p) for start, part in parts.items() if part for name, p in part.named_parameters())
        return {name: p for name, p in named if p.requires_grad}

    def train(self, mode: bool = True) -> None:
        """Switch dropout on or off."""
        for module in self.modules():
            module.train(mode)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """No gradients, no dropout, and no trace in the random state; as before on leaving."""
        was = self.wrapped.training
        self.train(False)
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                yield
        finally:
            self.train(was)

    @contextmanager
    def holding(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """With these values in the parameters of `trainable()`; with its own again on leaving."""
        own = {name: parameter.data for name, parameter in self.trainable().items()}
        try:
            self._hold(weights)
            yield
        finally:
            self._hold(own)

    def _hold(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self.trainable().items():
            parameter.data = weights[name]

    @property
    def device(self) -> torch.device:
        """Where the trunk's parameters live."""
        return next(self.trunk.parameters()).device

    def _lm_head(self) -> nn.Linear:
        if self.lm_head is None:
            raise ModelError("an encoder has no output over the vocabulary", mend="Use `objective: classify` with it.")
        return self.lm_head

    def _output(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Weight (V, H) and bias of the output layer, as numbers of this type."""
        head = self._lm_head()
        return head.weight.to(dtype), None if head.bias is None else head.bias.to(dtype)

    def _cacheless(self) -> dict[str, Any]:
        return {"use_cache": False} if self.lm_head is not None else {}


def position_offset(config: Any) -> int:
    """Where a family's positions start: RoBERTa's begin after its padding id, all others at 0."""
    return config.pad_token_id + 1 if config.model_type in POSITIONS_BEHIND_PADDING else 0
