"""What a run IS: frozen, typed values. `resolve` fills each `auto`; every other default is vetted.

Key names are the field's standard ones. A key exists only if some code reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from luthier.recipe.adapter import Adapter
from luthier.recipe.objective import Objective
from luthier.recipe.shorthand import expand
from luthier.recipe.values import (
    Above0,
    AtLeast0,
    Auto,
    Count,
    DataType,
    Fraction,
    Memory,
    Metric,
    Name,
    NumberFormat,
    Part,
    Positive,
    Precision,
    Seed,
    Switch,
    Text,
    Time,
)


class DataEntry(Part):
    """One source of rows."""

    path: Text
    """A file, a folder, `hub:owner/name`, or `dataset:ds-…` for the rows that a dataset version has in the split;
    relative paths are taken from the recipe's folder."""
    type: DataType = "auto"
    """The format of the rows; `auto` detects it from the first rows and says so."""
    split: Literal["train", "validation", "test", "earlier", "beside", "beside_validation", "beside_test"] = "train"
    """Which split the rows belong to; what is missing is cut from `train`. `earlier`: data that was learnt before this
    run, for `train.replay` and `train.ewc_lambda`; `beside`: the rows of the second objective, `objective.beside`;
    `beside_validation`, `beside_test`: those by which its classes are measured; what is missing is cut from `beside`.
    """
    weight: Above0 = 1.0
    """How much each row of this source counts in the loss."""
    group: Text | None = None
    """The column whose equal values must stay in one split (a customer, a conversation)."""
    licence: Text | None = None
    """The licence of the rows, written on the dataset version and the model card."""
    field_text: Text | None = None
    """The column that holds the text (classification, plain text)."""
    field_label: Text | None = None
    """The column that holds the label, or a list of labels."""
    field_messages: Text | None = None
    """The column that holds the chat messages."""
    field_instruction: Text | None = None
    """The column that holds the instruction (alpaca)."""
    field_input: Text | None = None
    """The column that holds the instruction's input (alpaca)."""
    field_output: Text | None = None
    """The column that holds the answer (alpaca)."""
    field_prompt: Text | None = None
    """The column that holds the prompt (prompt-completion, preference)."""
    field_completion: Text | None = None
    """The column that holds the completion."""
    field_chosen: Text | None = None
    """The column that holds the preferred answer."""
    field_rejected: Text | None = None
    """The column that holds the rejected answer."""


class Splits(Part):
    """How missing splits are cut from `train`: stratified by label, whole groups, fixed by `seed`."""

    validation: Fraction = 0.1
    """The share of rows for early stopping and the learning curve, where no validation data is given."""
    test: Fraction = 0.15
    """The share of rows held out for the verdict, where no test data is given."""
    seed: Seed = 0
    """Decides which rows go where; changing `train.seed` does not change the split."""


class Curate(Part):
    """What happens to rows between reading and training. Every dropped row is kept with its reason."""

    deduplicate: Switch = True
    """Keep one of several rows with the same content."""
    personal: Literal["keep", "redact", "drop"] = "keep"
    """What to do with what looks personal or secret (e-mail addresses, numbers of telephones and cards, keys): nothing;
    write `[email]`, `[phone]`, `[card]`, `[key]` instead; drop the row. Names are not found."""
    min_chars: Count = 1
    """Rows whose text is shorter (characters) are dropped."""
    max_chars: Positive | None = None
    """Rows whose text is longer (characters) are dropped."""
    leakage: Literal["drop", "error"] = "drop"
    """What to do with a train row whose input is also in validation or test."""


class Train(Part):
    """The optimisation."""

    num_epochs: Auto | Above0 = "auto"
    """How often every row is seen."""
    max_steps: Positive | None = None
    """Stop after this many optimizer steps, whatever `num_epochs` says."""
    batch_size: Auto | Positive = "auto"
    """Rows per optimizer step. Micro-batches are cut by the machine's memory and change nothing."""
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    """AdamW with moments of float32, or of eight bits, a quarter of their memory (needs `luthier[bnb]`); `paged`, on a
    GPU: moments that move to the machine's memory where the GPU's is full."""
    optimizer_in_backward: Switch = False
    """`adapter: full` only: take each weight's step as its gradient arrives, and free it, so that there is no gradient
    of all weights to hold. A step is one micro-batch, and nothing is clipped: `max_grad_norm` must be 0."""
    learning_rate: Auto | Above0 = "auto"
    """The peak learning rate of AdamW."""
    lr_scheduler: Literal["constant", "linear", "cosine", "wsd"] = "cosine"
    """The shape after warm-up; `wsd` is constant, then falls linearly over the last fifth."""
    warmup_ratio: Fraction = 0.05
    """The share of steps in which the learning rate rises linearly from 0."""
    weight_decay: AtLeast0 = 0.0
    """AdamW's decoupled weight decay, on matrices only."""
    adam_beta1: Fraction = 0.9
    """AdamW's decay of the first moment."""
    adam_beta2: Fraction = 0.999
    """AdamW's decay of the second moment."""
    adam_epsilon: Above0 = 1e-8
    """AdamW's epsilon."""
    max_grad_norm: AtLeast0 = 1.0
    """The gradient's global norm is clipped to this; 0 turns clipping off. With `privacy`, that of each row's own."""
    precision: Auto | Precision = "auto"
    """The numbers that the model computes in. What is trained stays in float32, and so do sums, norms, the loss and
    log-probabilities. `auto`: float32 on a CPU; on a GPU bfloat16, or float16 with a scaled loss where it has none."""
    gradient_checkpointing: Auto | Switch | Literal["long"] = "auto"
    """Keep of each transformer block only what goes in, and compute the rest again for the backward: less memory, a
    third more time, the same gradient. `long`: only of micro-batches of more than 192 tokens. `auto`: where memory
    needs it, and `long` on a base that a CPU holds in fewer bits."""
    activation_offloading: Switch = False
    """On a GPU, with `gradient_checkpointing: true`: what goes into the blocks waits in the machine's memory."""
    sequence_len: Auto | Positive = "auto"
    """The longest row in tokens."""
    truncation: Literal["error", "drop", "right"] = "error"
    """What happens to longer rows: refuse the data, drop the row, or cut its end. Always counted."""
    train_on: Literal["assistant", "last", "all"] = "assistant"
    """Which turns are learnt: every assistant turn, the last one, or every token."""
    rehearsal: Auto | Fraction = "auto"
    """General passages learnt beside the rows, as a share of their number, so that less is forgotten; 0 for none."""
    replay: AtLeast0 = 0.0
    """Rows of the data entries with `split: earlier` learnt beside the others, as a share of their number."""
    ewc_lambda: AtLeast0 = 0.0
    """How strongly weights that the rows with `split: earlier` depend on are held where they were (EWC); 0 for not."""
    early_stopping_patience: Positive | None = None
    """Stop when `metric_for_best_model` has not improved for this many evaluations."""
    metric_for_best_model: Literal["auto", "nll", "loss", "accuracy", "macro_f1", "reward"] = "auto"
    """The validation metric that decides which checkpoint is best."""
    eval_steps: Auto | Positive = "auto"
    """Steps between evaluations on the validation split."""
    save_steps: Auto | Positive = "auto"
    """Steps between checkpoints."""
    max_time: Time | None = None
    """A budget for the fit, such as `30m` or `2h`; it stops in time and keeps the best."""
    max_cost: Above0 | None = None
    """A budget in the currency of `machine.price_per_hour`."""
    seed: Seed = 0
    """Decides initial adapter weights and the order of rows."""


class Privacy(Part):
    """Differential privacy of the training rows (DP-SGD): on where ε or the noise is given."""

    target_epsilon: Above0 | None = None
    """ε: how much a single row may change what is learnt; the noise that this takes is computed. 8 is customary."""
    noise_multiplier: Above0 | None = None
    """Instead of ε: the standard deviation of the noise, as a multiple of `train.max_grad_norm`."""
    target_delta: Annotated[float, Field(gt=0, lt=1, strict=True)] = 1e-5
    """δ: the probability with which ε may be exceeded; below one over the number of rows."""
    noise_seed: Seed | None = None
    """Decides draws and noise. By default a secret of the run, without which neither can be repeated or undone."""

    @property
    def wanted(self) -> bool:
        """Whether gradients are private."""
        return self.target_epsilon is not None or self.noise_multiplier is not None


class Evaluate(Part):
    """What is measured on the test split."""

    metrics: Auto | Annotated[tuple[Metric, ...], Field(min_length=1)] = "auto"
    """The first one decides the verdict."""
    baselines: tuple[Literal["base", "few_shot", "classic", "majority", "in_service"], ...] = (
        "base", "few_shot", "classic", "majority",
    )  # fmt: skip
    """What the tuned model must beat; those that do not apply to the task are named in the report. `in_service`: the
    version that `ship.alias` points at."""
    shots: Positive = 4
    """Examples shown by `few_shot`: the most similar training rows of each test row."""
    constrain: Literal["none", "labels", "json"] = "none"
    """Restrict answers to the labels, or to the JSON fields and values, seen in training."""
    max_rows: Positive | None = None
    """Evaluate at most this many test rows, drawn with the split's seed."""
    max_new_tokens: Auto | Positive = "auto"
    """The longest answer a model may give."""
    forgetting: Switch = True
    """Measure what was lost: perplexity of general text and a small question set, tuned against base."""
    forgetting_margin: Above0 = 0.1
    """How much may be lost (share of questions answered; relative perplexity) before the gate holds."""
    confidence: Annotated[float, Field(gt=0.5, lt=1, strict=True)] = 0.95
    """The level of every interval."""


class Ship(Part):
    """The gate."""

    require: Literal["better", "not_worse", "nothing"] = "better"
    """`better`: the interval of tuned minus best baseline lies above 0; `not_worse`: above minus `margin`."""
    margin: AtLeast0 = 0.01
    """`not_worse` only: how much worse is still acceptable, in the metric's own unit."""
    alias: Name | None = "production"
    """The name that is moved to the new version when the verdict is `ship`; `null`: none is."""


class Machine(Part):
    """What the run may use, and what it costs."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model lives."""
    num_processes: Auto | Positive = "auto"
    """Processes that train together; on GPUs, one for each. As many as torchrun started, else one."""
    parallel: Literal["replicate", "fsdp", "tensor"] = "replicate"
    """What each process holds: all of the model, and rows of its own; a share of all weights (FSDP), and rows of its
    own; or a part of every layer, and the same rows."""
    threads: Auto | Positive = "auto"
    """CPU threads, of all processes together."""
    memory: Auto | Memory = "auto"
    """How much memory a run may take, such as `8GB`; decides the size of micro-batches. On GPUs, each process."""
    disk: Auto | Memory = "auto"
    """How much disk the output of frozen blocks may take (`adapter.num_layers`); `1MB` keeps none."""
    stream_base: Auto | Switch = "auto"
    """`adapter: lora` only: leave the base's linear layers in their files and read each whenever it is needed, for a
    base larger than memory."""
    price_per_hour: AtLeast0 = 0.0
    """What an hour of this machine costs, for forecasts, reports and `max_cost`."""
    power_watts: Auto | Above0 = "auto"
    """The machine's draw under load, for the energy estimate."""


class Recipe(Part):
    """A whole run: `base_model` and `data` are required, the rest has vetted defaults."""

    base_model: Text
    """A folder, a hub id, or a packaged model (`smollm2-135m-instruct`, `all-minilm-l6-v2`)."""
    data: Annotated[tuple[DataEntry, ...], Field(min_length=1)]
    """A path, an entry, or a list of entries."""
    load_in_4bit: Switch = False
    """`adapter: lora` only: hold the base's linear layers in four bits (NF4), so that it takes an eighth of the memory
    (QLoRA); needs `luthier[bnb]`."""
    load_in_8bit: Switch = False
    """`adapter: lora` only: hold the base's linear layers in eight bits, so that it takes a quarter of the memory."""
    name: Name | None = None
    """The name of the registered model; by default it comes from the first data file's name."""
    adapter: Adapter = Adapter()
    """A type name alone, or a mapping."""
    objective: Objective = Objective()
    """A type name alone, or a mapping."""
    splits: Splits = Splits()
    curate: Curate = Curate()
    train: Train = Train()
    privacy: Privacy = Privacy()
    evaluate: Evaluate = Evaluate()
    ship: Ship = Ship()
    machine: Machine = Machine()
    chat_template: Text | None = None
    """A Jinja file that replaces the base model's chat template."""

    @property
    def number_format(self) -> NumberFormat:
        """What the linear layers of the base are held in."""
        return "nf4" if self.load_in_4bit else "int8" if self.load_in_8bit else "float32"

    @property
    def number_bytes(self) -> int:
        """Of a resolved recipe: bytes of a number that the model computes with."""
        return 2 if self.train.precision in ("bfloat16", "float16") else 4

    @model_validator(mode="before")
    @classmethod
    def _from_shorthand(cls, given: Any) -> Any:
        return expand(given) if isinstance(given, Mapping) else given

    def to_plain(self) -> dict[str, Any]:
        """The recipe as JSON-ready values, defaults included; `Recipe.model_validate` reads it back."""
        return self.model_dump(mode="json")
