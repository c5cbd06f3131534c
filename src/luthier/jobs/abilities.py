"""What this machine can train of a base model, how fast and in how much memory: forecasts on rows of a usual size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from luthier.engine.whole_job import forecast
from luthier.jobs.prepare import shape_facts, with_checkpointing
from luthier.models.families import context_length
from luthier.recipe import DataFacts, Facts, MachineFacts, ModelFacts, from_mapping, own_memory, resolve

ROWS, MEAN_TOKENS, LONGEST_TOKENS, LABELS = 1000, 200, 400, 10
ASSUMED = f"{ROWS:,} rows of {MEAN_TOKENS} tokens, the longest {LONGEST_TOKENS}; half of a row is the answer"
"""What the forecasts are about."""

LORA, FULL, FOUR_BIT = "LoRA", "all weights", "LoRA, 4-bit base"
CLASSES, CLASSES_FULL, HEAD = "classes, LoRA", "classes, all weights", "classes, head alone"
METHODS: dict[str, dict[str, Any]] = {
    LORA: {"adapter": "lora"},
    FULL: {"adapter": "full"},
    FOUR_BIT: {"adapter": "lora", "load_in_4bit": True},
    CLASSES: {"objective": "classify", "adapter": "lora"},
    CLASSES_FULL: {"objective": "classify", "adapter": "full"},
    HEAD: {"objective": "classify", "adapter": "head"},
}
"""What is forecast, and the recipe that asks for it."""
BY_KIND: dict[Literal["decoder", "encoder"], tuple[str, ...]] = {
    "decoder": (LORA, FULL, FOUR_BIT, CLASSES),
    "encoder": (HEAD, CLASSES, CLASSES_FULL),
}


@dataclass(frozen=True)
class Ability:
    """A way to train a model here."""

    model: str
    method: str
    memory_bytes: int
    """At the peak."""
    tokens_per_second: float
    seconds: float
    """Of the whole fit, with as many epochs as the recipe resolves to."""
    fits: bool
    """Whether the free memory that a run takes by default is enough."""


def abilities(name: str, config: Any, num_parameters: int, machine: MachineFacts) -> Iterator[Ability]:
    """One for each method that the kind of the model allows."""
    model = shape_facts(name, config, num_parameters, context_length(config, name))
    for method in BY_KIND[model.kind]:
        yield _ability(model, method, machine)


def _ability(model: ModelFacts, method: str, machine: MachineFacts) -> Ability:
    recipe = from_mapping({"base_model": model.name, "data": "rows.jsonl", **METHODS[method]})
    facts = Facts(model, _rows(model, recipe.objective.type == "classify"), machine)
    recipe = with_checkpointing(resolve(recipe, facts), facts).recipe
    found = forecast(recipe, facts)
    seconds = found.before_seconds + found.seconds
    once = recipe.adapter.type == "head"  # the trunk reads each row once, whatever the number of epochs
    tokens = ROWS * facts.data.mean_tokens if once else found.tokens
    fits = found.peak_memory_bytes <= own_memory(recipe)
    return Ability(model.name, method, found.peak_memory_bytes, tokens / seconds, seconds, fits)


def _rows(model: ModelFacts, classes: bool) -> DataFacts:
    longest = min(LONGEST_TOKENS, model.context_length)
    mean = min(MEAN_TOKENS, longest)
    return DataFacts(
        task="classify" if classes else "generate", rows={"train": ROWS}, labels=LABELS if classes else 0,
        longest_tokens=longest, p95_tokens=(mean + longest) // 2, mean_tokens=mean,
        mean_trained_tokens=0 if classes else mean / 2, longest_answer_tokens=5 if classes else longest // 2,
        types=("instruction",),
    )  # fmt: skip
