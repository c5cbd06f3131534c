"""Fills every `auto` from facts about model, data and machine, and says why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from luthier.recipe.auto import RULES
from luthier.recipe.facts import DataFacts, Facts, ModelFacts
from luthier.recipe.faults import Fault, refuse
from luthier.recipe.methods import HEADED, PAIRED
from luthier.recipe.processes import misfits_together
from luthier.recipe.rules import ANSWERS, check
from luthier.recipe.types import Recipe


@dataclass(frozen=True)
class Reason:
    """What an `auto` became: its dotted key, its value, and one plain sentence with the numbers used."""

    key: str
    value: Any
    why: str


@dataclass(frozen=True)
class Resolved:
    """A recipe without any `auto`, and how it came about."""

    recipe: Recipe
    reasons: tuple[Reason, ...]


def resolve(recipe: Recipe, facts: Facts) -> Resolved:
    """Fill every `auto` but the forecast's (`auto.BY_FORECAST`), and `name`; what the recipe says is never changed.

    Raises RecipeError where the recipe contradicts itself, the model, the data or the machine.
    """
    check(recipe)
    faults = list(misfits(recipe, facts))
    if faults:
        refuse(faults, "recipe", {})
    recipe, reasons = _types(recipe, facts.data)
    if recipe.name is None:
        recipe = recipe.model_copy(update={"name": default_name(recipe)})
        reasons.append(Reason("name", recipe.name, "from the name of the data"))
    for key, rule in RULES.items():
        section, name = key.split(".")
        if getattr(getattr(recipe, section), name) == "auto":
            value, why = rule(recipe, facts)
            part = getattr(recipe, section).model_copy(update={name: value})
            recipe = recipe.model_copy(update={section: part})
            reasons.append(Reason(key, list(value) if isinstance(value, tuple) else value, why))
    if recipe.objective.beside:
        reasons.append(_beside(recipe, facts.data))
    return Resolved(recipe, tuple(reasons))


def _beside(recipe: Recipe, data: DataFacts) -> Reason:
    """What is learnt beside the rows, and how much of it in a step."""
    rows, own = data.rows["train"], data.rows["beside"]
    size = max(1, round(int(recipe.train.batch_size) * own / rows))
    what = f"{own:,} rows with {data.labels} labels" if data.labels else f"{own:,} texts"
    each = f"{size} beside {recipe.train.batch_size} in each step, whose loss counts {recipe.objective.beside:g} times"
    return Reason(
        "objective.beside_type", recipe.objective.beside_type, f"{what} beside the {rows:,} train rows: {each}"
    )


def default_name(recipe: Recipe) -> str:
    """A model name from the first train file: its name, or its folder's where that says only `train`."""
    path = PurePath(next(entry.path for entry in recipe.data if entry.split == "train").removeprefix("hub:"))
    words = [re.sub(r"[^a-z0-9._-]+", "-", part.lower()).strip("-._") for part in (path.stem, path.parent.name)]
    telling = [word for word in words if word and word not in {"train", "data", "dataset", "rows"}]
    return (telling or ["model"])[0][:100]


def misfits(recipe: Recipe, facts: Facts) -> Iterator[Fault]:
    """What the recipe asks for and the model, the data or the machine cannot give."""
    model, data, objective = facts.model, facts.data, recipe.objective.type
    length, context = recipe.train.sequence_len, facts.model.context_length
    if not data.rows.get("train"):
        yield Fault(("data",), "no train rows are left", "`luthier check` says which rows were dropped and why")
    if data.task == "preference" and objective not in PAIRED:
        yield Fault(
            ("objective",),
            f"the rows are preference pairs, which `{objective}` does not learn from",
            "Write `objective: dpo` or `reward`",
        )
    if data.task != "preference" and objective in PAIRED:
        yield Fault(("data",), f"`{objective}` learns from preference pairs, and the rows are none", PAIRS)
    if data.task == "verdict":
        yield Fault(("data",), "the rows judge single answers, which no objective learns from", ONE_ANSWER)
    if model.kind == "encoder" and objective not in HEADED:
        yield Fault(
            ("objective",),
            f"`{model.name}` is an encoder and cannot write text",
            "Write `objective: classify`, or `reward` for preference pairs",
        )
    if objective == "classify" and data.labels < 2:
        yield Fault(
            ("objective",),
            f"`classify` needs at least two labels, and the rows have {data.labels}",
            NO_LABELS,
        )
    if objective in ANSWERS and data.task == "text":
        yield Fault(("objective",), "the rows are plain text, without answers", "Write `objective: pretrain`")
    if facts.teacher is not None:
        yield from _teacher(recipe, model, facts.teacher)
    virtual = recipe.adapter.virtual_tokens
    if context < 1:
        what = f"`adapter.num_virtual_tokens` is {virtual}, which leaves `{model.name}` no room for rows"
        yield Fault(("adapter", "num_virtual_tokens"), what, "Write less; 20 is usual")
    elif length != "auto" and length > context:
        behind = f" after {virtual} virtual ones" if virtual else ""
        what = f"`train.sequence_len` is {length}, but `{model.name}` reads {context} tokens{behind}"
        yield Fault(("train", "sequence_len"), what, f"Write at most {context}, or `auto`")
    layers = recipe.adapter.num_layers
    if layers != "all" and layers > model.num_layers:
        what = f"`adapter.num_layers` is {layers}, but `{model.name}` has {model.num_layers} transformer blocks"
        yield Fault(("adapter", "num_layers"), what, f"Write at most {model.num_layers}, or `all`")
    if recipe.evaluate.constrain == "json" and not data.answers_are_json:
        what = "`evaluate.constrain` is `json`, but not every answer in the data is a JSON object"
        yield Fault(("evaluate", "constrain"), what, "Leave it out")
    yield from misfits_together(recipe, facts)
    if recipe.machine.device == "cuda" and facts.machine.device == "cpu":
        what = "`machine.device` is `cuda`, but this machine has no CUDA device"
        yield Fault(("machine", "device"), what, "Write `auto` or `cpu`")
    if recipe.train.optimizer == "paged_adamw_8bit" and "cpu" in (recipe.machine.device, facts.machine.device):
        what = "`train.optimizer: paged_adamw_8bit` moves pages between a GPU and the machine, and this fit is on a CPU"
        yield Fault(("train", "optimizer"), what, "Write `adamw_8bit`")
    if recipe.train.activation_offloading and "cpu" in (recipe.machine.device, facts.machine.device):
        what = "`train.activation_offloading` moves data from a GPU to the machine's memory, and this fit is on a CPU"
        yield Fault(("train", "activation_offloading"), what, "Leave it out")


PAIRS = "Give rows with a chosen and a rejected answer"


def _teacher(recipe: Recipe, model: ModelFacts, teacher: ModelFacts) -> Iterator[Fault]:
    key, longest, top = ("objective", "teacher"), recipe.train.sequence_len, recipe.objective.top_k
    if teacher.kind == "encoder":
        yield Fault(key, f"`{teacher.name}` is an encoder and cannot write text", "Name a model that can")
    if longest != "auto" and longest > teacher.context_length:
        what = f"`train.sequence_len` is {longest}, but `{teacher.name}` reads {teacher.context_length} tokens"
        yield Fault(("train", "sequence_len"), what, f"Write at most {teacher.context_length}")
    if top is not None and top >= min(model.vocab_size, teacher.vocab_size):
        what = f"`objective.top_k` is {top}, but the vocabulary has {model.vocab_size} tokens"
        yield Fault(("objective", "top_k"), what, "Write 64, or leave it out to compare the whole vocabulary")


ONE_ANSWER = "Give rows with one answer each"
NO_LABELS = "Name the column with `data.0.field_label`, or write `objective: sft`"


def _types(recipe: Recipe, data: DataFacts) -> tuple[Recipe, list[Reason]]:
    """The recipe with the detected format at each entry that leaves it open."""
    entries, reasons = list(recipe.data), []
    for index, (entry, found) in enumerate(zip(recipe.data, data.types, strict=True)):
        if entry.type == "auto":
            entries[index] = entry.model_copy(update={"type": found})
            reasons.append(Reason(f"data.{index}.type", found, "detected from the first rows"))
    return recipe.model_copy(update={"data": tuple(entries)}), reasons
