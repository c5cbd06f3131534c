"""What has to be known about model, data and machine to fill every `auto`; gathered elsewhere, handed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MOST_KEPT = 34.0
"""Of what blocks keep for the backward, where a family was not counted, and with dropout or DoRA, which run PEFT's own
layers."""


@dataclass(frozen=True)
class ModelFacts:
    """The base model."""

    name: str
    kind: Literal["decoder", "encoder"]
    num_parameters: int
    hidden_size: int
    num_layers: int
    context_length: int
    """The most tokens of one row: what the model reads less the virtual tokens before each row."""
    vocab_size: int
    enters: bool = True
    """Whether its trunk can be entered at a block, with states that were computed before."""
    kept_frozen: float = MOST_KEPT
    kept_trained: float = MOST_KEPT
    """Numbers that a block keeps of each token until the backward, over the size of a hidden state: with its own
    weights frozen, and with them trained."""


@dataclass(frozen=True)
class DataFacts:
    """The prepared data, all splits, rendered with the model's tokenizer; lengths count tokens of a row."""

    task: Literal["generate", "classify", "text", "preference", "verdict"]
    rows: Mapping[str, int]
    """Rows of each split: `train`, `validation`, `test`."""
    labels: int
    """How many different labels there are; 0 where rows carry none."""
    longest_tokens: int
    p95_tokens: int
    """Nineteen rows of twenty are no longer."""
    mean_tokens: float
    """Tokens of an example: of both rows of a preference pair."""
    mean_trained_tokens: float
    """Those that the loss counts."""
    longest_answer_tokens: int
    types: tuple[str, ...]
    """The detected format of each data entry, in the recipe's order."""
    answers_are_json: bool = False
    """Every reference answer is a JSON object."""
    computed_share: float = 1.0
    """Of the tokens, those that a causal model computes: what rows of a pack begin with is computed once."""


@dataclass(frozen=True)
class MachineFacts:
    """The machine, when the run starts."""

    cores: int
    memory_bytes: int
    """Free memory: of the device if it has its own, else of the machine."""
    device: Literal["cpu", "cuda"]
    gemm_gflops: float
    """Measured fp32 matrix multiplication, GFLOP/s."""
    disk_bytes: int = 0
    """Free where the home lies, or taken by states of frozen blocks that are in its cache."""
    gpus: int = 0
    processes: int = 1
    """As many as torchrun started, else 1."""
    bfloat16: bool = False
    """Whether the device has instructions for bfloat16."""
    half_gflops: float = 0.0
    """Of a GPU, as `gemm_gflops` in bfloat16, or in float16 where it has none."""


@dataclass(frozen=True)
class Facts:
    """All that `resolve` is told."""

    model: ModelFacts
    data: DataFacts
    machine: MachineFacts
    teacher: ModelFacts | None = None
    """The model that is imitated, where the objective has one."""
    states_kept: bool = False
    """The output of the frozen blocks below the first trained one lies in the cache, for all train rows."""


@dataclass(frozen=True)
class Glimpse:
    """What the first look at a data file tells, without a tokenizer: all that `propose` needs."""

    task: Literal["generate", "classify", "text", "preference", "verdict"]
    type: str
    """The detected format, such as `chat`."""
    rows: int
    labels: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    """Recipe key -> column (`field_text` -> `body`), where the columns' names do not say it."""
