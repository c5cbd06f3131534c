"""Virtual tokens before every row, and nothing else that is learnt.

Prompt tuning (Lester, Al-Rfou and Constant 2021, arXiv:2104.08691) learns their embeddings; prefix tuning (Li and Liang
2021, arXiv:2101.00190) the keys and values that each layer sees of them. PEFT owns the weights and the files. Its own
forward would add the tokens once to a pack; the trunk here adds them to each row of it. Rows begin at position V, as
they do in PEFT.

Both start from V tokens drawn from the vocabulary: prompt tuning from their embeddings, prefix tuning from the keys and
values that the base computes for them. So both start as the base with these tokens before each row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from luthier.data.batch import pack
from luthier.data.forest import Row, Segment, repeated, rooted
from luthier.errors import ModelError
from luthier.models.adapt.lora import quiet
from luthier.models.attention import Memory, Shelves
from luthier.models.families import WITHOUT_PREFIX
from luthier.models.peft_parts import PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from luthier.models.policy import Policy
from luthier.recipe.types import Adapter

COMMON_TOKENS = 5000
"""Lester et al. draw from the 5 000 most common tokens; vocabularies list common ones first."""


class Soft(nn.Module):
    """A trunk with V virtual tokens before each row; it returns the states of the rows' own tokens.

    `learnt` holds a row of numbers for each virtual token; `run` hands a pack to the trunk with what they stand for.
    """

    def __init__(self, trunk: Any, learnt: nn.Embedding, run: Callable[..., Any]) -> None:
        super().__init__()
        self.trunk, self.learnt, self.run = trunk, learnt, run

    def forward(
        self, input_ids: Tensor, position_ids: Tensor, segments: Sequence[Segment] | None = None,
        memory: Memory | Shelves | None = None, **options: Any,
    ) -> Any:  # fmt: skip
        """As the trunk: a pack (1, T) with its segments, or a decoding step (B, 1) with a memory that has the rest."""
        if memory is not None:
            options["memory"] = memory
        if segments is None:
            return self.trunk(input_ids=input_ids, position_ids=position_ids, **options)
        if isinstance(memory, Memory):
            memory.root(self.learnt.num_embeddings)
        return self.run(self.trunk, self.learnt.weight, input_ids, position_ids, segments, options)


def add_prompt(policy: Policy, adapter: Adapter) -> None:
    """Learn `num_virtual_tokens` embeddings. Raises ModelError where embeddings are not as wide as the model."""
    model: Any = policy.trunk
    start = model.get_input_embeddings()(_drawn(policy, adapter)).detach()
    if start.shape[1] != model.config.hidden_size:
        raise ModelError("this model's embeddings are projected before its first layer", type(policy.trunk).__name__,
                         "Write `adapter: lora`")  # fmt: skip
    config = PromptTuningConfig(
        task_type=_task(policy), num_virtual_tokens=adapter.num_virtual_tokens, token_dim=start.shape[1],
        num_layers=model.config.num_hidden_layers, num_attention_heads=model.config.num_attention_heads,
    )  # fmt: skip
    _start(policy, config, start)


def add_prefix(policy: Policy, adapter: Adapter) -> None:
    """Learn keys and values of `num_virtual_tokens` for each layer. Raises ModelError for families without a cache."""
    model: Any = policy.trunk
    if model.config.model_type in WITHOUT_PREFIX:
        raise ModelError("this family takes no prefix", type(policy.trunk).__name__, "Write `adapter: prompt`")
    row = Row(_drawn(policy, adapter).cpu().numpy(), torch.zeros(adapter.num_virtual_tokens).numpy(), 0)
    batch = pack([row]).to(policy.device)
    memory = Memory(batch.segments, batch.leaves, adapter.num_virtual_tokens, policy.device)
    with policy.evaluating():
        policy.hidden(batch, memory=memory)
    layers = [torch.stack([memory.keys[layer][0], memory.values[layer][0]]) for layer in sorted(memory.keys)]
    start = torch.stack(layers)  # (layers, 2, kv heads, V, D)
    config = PrefixTuningConfig(
        task_type=_task(policy), num_virtual_tokens=adapter.num_virtual_tokens, num_layers=len(layers),
        num_attention_heads=start.shape[2], token_dim=start.shape[2] * start.shape[4],
    )  # fmt: skip
    _start(policy, config, start.permute(3, 0, 1, 2, 4).flatten(1))


def load_soft(policy: Policy, folder: Path) -> None:
    """Put the virtual tokens in `folder` (PEFT's layout) before the policy's rows, frozen."""
    with quiet():
        policy.wrapped = PeftModel.from_pretrained(policy.wrapped, str(folder))  # type: ignore[arg-type]
    policy.wrapped.requires_grad_(False)
    _begin_with(policy)


def _start(policy: Policy, config: Any, start: Tensor) -> None:
    with quiet():
        policy.wrapped = get_peft_model(policy.wrapped, config)  # type: ignore[arg-type, assignment]
    _begin_with(policy).weight.data.copy_(start)


def _begin_with(policy: Policy) -> nn.Embedding:
    tuned: Any = policy.wrapped
    learnt, config = tuned.prompt_encoder["default"].embedding, tuned.active_peft_config
    if config.peft_type == "PREFIX_TUNING":
        run = partial(_prefixed, shape=(config.num_layers, 2, config.num_attention_heads))
    else:
        run = partial(_prompted, causal=policy.lm_head is not None)
    policy.trunk = Soft(policy.trunk, learnt, run)
    return learnt


def _prompted(
    trunk: Any, learnt_VH: Tensor, ids: Tensor, positions: Tensor, segments: Sequence[Segment], options: dict[str, Any],
    *, causal: bool,
) -> Any:  # fmt: skip
    """Once for all rows in a causal trunk; once for each in one where they depend on what follows them."""
    count = len(learnt_VH)
    virtual, own = torch.arange(count), torch.arange(ids.shape[1]) + count
    pieces = [own] if causal else own.split([segment.end - segment.start for segment in segments])
    order = torch.cat([part for piece in pieces for part in (virtual, piece)])
    kept = torch.nonzero(order >= count)[:, 0].to(ids.device)
    order = order.to(ids.device)
    own_TH = trunk.get_input_embeddings()(ids)[0]
    embedded = torch.cat([learnt_VH.to(own_TH.dtype), own_TH])
    places = torch.cat([virtual.to(ids.device) + positions[0, 0], positions[0] + count])
    out = trunk(inputs_embeds=embedded[order][None], position_ids=places[order][None],
                segments=rooted(segments, count) if causal else repeated(segments, count), **options)  # fmt: skip
    out.last_hidden_state = out.last_hidden_state[:, kept]
    return out


def _prefixed(
    trunk: Any, learnt: Tensor, ids: Tensor, positions: Tensor, segments: Sequence[Segment], options: dict[str, Any],
    *, shape: tuple[int, int, int],
) -> Any:  # fmt: skip
    """`learnt` is (V, layers · 2 · kv heads · D), as PEFT has it: of each layer the keys, then the values."""
    count = len(learnt)
    prefix = learnt.view(count, *shape, -1).permute(1, 2, 3, 0, 4)
    return trunk(input_ids=ids, position_ids=positions + count, segments=rooted(segments, count), prefix=prefix,
                 **options)  # fmt: skip


def _drawn(policy: Policy, adapter: Adapter) -> Tensor:
    embed: Any = policy.trunk.get_input_embeddings()  # type: ignore[operator]
    most = min(COMMON_TOKENS, embed.num_embeddings)
    return torch.randint(most, (adapter.num_virtual_tokens,)).to(policy.device)


def _task(policy: Policy) -> str:
    return "CAUSAL_LM" if policy.lm_head else "FEATURE_EXTRACTION"
