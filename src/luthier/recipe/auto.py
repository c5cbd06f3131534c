"""What each `auto` becomes, and why: one rule a key."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from luthier.recipe.facts import Facts, MachineFacts
from luthier.recipe.held import may_stream
from luthier.recipe.methods import (
    ON_POLICY,
    PAIRED,
    PASSAGES,
    batch_factor,
    epochs_for,
    method_of,
    size_factor,
    total_steps,
)
from luthier.recipe.processes import divided, own_memory
from luthier.recipe.rules import ANSWERS
from luthier.recipe.types import Recipe
from luthier.recipe.units import format_memory
from luthier.recipe.values import Precision

EVALUATIONS = 10
"""Evaluations on the validation split that `auto` spreads over a fit, at most."""
EVALUATED = 0.3
"""Validation rows in all, for each row that is learnt; a forward pass costs about a third of a step."""
SHORT_ANSWER = 16
"""Tokens; answers up to this long are compared as a whole."""
MEMORY_SHARE = 0.7
DISK_SHARE = 0.5
WATTS_PER_CORE = 15
WATTS_PER_GPU = 350

BY_FORECAST = ("train.gradient_checkpointing",)
"""Keys whose `auto` the forecast fills, which knows what fits into memory."""

Rule = Callable[[Recipe, Facts], tuple[Any, str]]
"""The value, and one plain sentence with the numbers it comes from."""


def _batch_size(recipe: Recipe, facts: Facts) -> tuple[int, str]:
    method, rows = method_of(recipe), facts.data.rows["train"]
    if rows // 8 < method.batch_size:
        return max(1, rows // 8), f"an eighth of the {rows:,} train rows"
    return method.batch_size, f"{method.title} learns well from {method.batch_size} rows a step"


def _num_epochs(recipe: Recipe, facts: Facts) -> tuple[float, str]:
    method, rows, batch = method_of(recipe), facts.data.rows["train"], int(recipe.train.batch_size)
    again = recipe.objective.num_iterations
    if recipe.train.max_steps:
        epochs = math.ceil(math.ceil(recipe.train.max_steps / again) * batch / rows * 100) / 100
        return (
            epochs,
            f"{recipe.train.max_steps} steps of {batch} out of {rows:,} train rows (train.max_steps)",
        )
    epochs = epochs_for(method, rows * again, batch)
    steps = math.ceil(rows * epochs / batch) * again
    if method.min_epochs == method.max_epochs:
        return epochs, f"{method.title} takes {epochs:g} epochs, here {steps:,} steps"
    bounds = f"{method.min_epochs} to {method.max_epochs} epochs"
    return (
        epochs,
        f"{rows:,} train rows, {batch} a step: {steps:,} steps; aimed at {method.steps}, in {bounds}",
    )


def _rehearsal(recipe: Recipe, facts: Facts) -> tuple[float, str]:
    share, rows = method_of(recipe).rehearsal, facts.data.rows["train"]
    if recipe.objective.type in ON_POLICY:
        return 0.0, "only the model's own answers are learnt"
    if not share:
        why = "learns from pairs alone" if recipe.objective.type == "dpo" else "writes no text that could be forgotten"
        return 0.0, f"{method_of(recipe).title} {why}"
    count = min(PASSAGES, round(rows * share))
    return share, f"{count} general passages beside the {rows:,} train rows, so that less is forgotten"


def _learning_rate(recipe: Recipe, facts: Facts) -> tuple[float, str]:
    method, batch = method_of(recipe), int(recipe.train.batch_size)
    by_size = size_factor(method, facts.model.num_parameters)
    by_batch = batch_factor(method, batch)
    why = [f"{method.learning_rate:g} for {method.title}" + (" at 1 B parameters" if method.scales else "")]
    if by_size != 1:
        why.append(f"× {by_size:.2g} for {_count(facts.model.num_parameters)} parameters")
    if by_batch != 1:
        why.append(f"× {by_batch:.2g} for {batch} rows a step instead of {method.batch_size}")
    return float(f"{method.learning_rate * by_size * by_batch:.2g}"), ", ".join(why)


def _sequence_len(recipe: Recipe, facts: Facts) -> tuple[int, str]:
    longest, context = facts.data.longest_tokens, facts.model.context_length
    if longest <= context:
        return min(_up_to_8(longest), context), f"the longest row has {longest:,} tokens"
    fate = {"error": "refused", "drop": "dropped", "right": "cut at the end"}[recipe.train.truncation]
    share = "fewer" if facts.data.p95_tokens <= context else "more"
    return context, (
        f"the model reads {context:,} tokens and the longest row has {longest:,}; {share} than 5 % of the "
        f"rows are longer, and those are {fate} (train.truncation)"
    )


def _eval_steps(recipe: Recipe, facts: Facts) -> tuple[int, str]:
    steps = total_steps(recipe, facts.data.rows["train"])
    if not facts.data.rows.get("validation"):
        return steps, "there are no validation rows to evaluate on"
    learnt = steps * int(recipe.train.batch_size)
    times = max(2, min(EVALUATIONS, int(EVALUATED * learnt / facts.data.rows["validation"])))
    return math.ceil(steps / times), f"about {times} evaluations in {steps:,} steps"


def _save_steps(recipe: Recipe, facts: Facts) -> tuple[int, str]:
    if not facts.data.rows.get("validation"):
        steps = total_steps(recipe, facts.data.rows["train"])
        return math.ceil(steps / EVALUATIONS), f"about {EVALUATIONS} checkpoints in {steps:,} steps"
    return int(recipe.train.eval_steps), "a checkpoint at every evaluation"


def _metrics(recipe: Recipe, facts: Facts) -> tuple[tuple[str, ...], str]:
    if recipe.objective.type == "classify":
        return ("accuracy", "macro_f1"), f"the answers are labels, {facts.data.labels} of them"
    if recipe.objective.type == "pretrain":
        return ("nll",), "plain text has no answers to compare"
    if recipe.objective.type in PAIRED:
        return ("preference_accuracy",), "the rows are pairs of answers, one preferred to the other"
    longest = facts.data.longest_answer_tokens
    if recipe.objective.type in ON_POLICY and recipe.objective.reward in ("exact_match", "json_match"):
        return (recipe.objective.reward,), "it is what is rewarded"
    if facts.data.answers_are_json:
        return ("json_match",), "every answer in the data is a JSON object"
    if longest <= SHORT_ANSWER:
        return ("exact_match",), f"the longest answer has {longest} tokens, at most {SHORT_ANSWER}"
    return ("nll",), f"answers of up to {longest:,} tokens are not repeated word for word"


def _best_metric(recipe: Recipe, facts: Facts) -> tuple[str, str]:
    first = recipe.evaluate.metrics[0]
    if recipe.objective.type == "classify":
        return first, f"{first} decides the verdict"
    if recipe.objective.type in ON_POLICY:
        return "reward", "it is what is learnt"
    if recipe.objective.type in PAIRED:
        return "loss", "it says more about few pairs than the share that is ranked right"
    return "nll", "it needs no answers to be written during training"


def _max_new_tokens(recipe: Recipe, facts: Facts) -> tuple[int, str]:
    longest = facts.data.longest_answer_tokens
    needed = min(_up_to_8(longest + 8), facts.model.context_length)
    if recipe.objective.type not in ANSWERS:
        return needed, "no answer is written for this objective"
    return needed, f"the longest answer in the data has {longest:,} tokens"


def _device(recipe: Recipe, facts: Facts) -> tuple[str, str]:
    device = facts.machine.device
    return device, "a CUDA device is there" if device == "cuda" else "this machine has no CUDA device"


def precision_of(recipe: Recipe, machine: MachineFacts) -> tuple[Precision, str]:
    """What `train.precision` becomes, and why."""
    if recipe.train.precision != "auto":
        return recipe.train.precision, "the recipe says so"
    if "cpu" in (recipe.machine.device, machine.device):
        faster = "; this CPU multiplies `bfloat16` faster, with three digits" if machine.bfloat16 else ""
        return "float32", f"exact, and fast on every CPU{faster}"
    if machine.bfloat16:
        return "bfloat16", "this GPU multiplies it fastest (compute capability 8.0 or more); what is trained is float32"
    exact = "`privacy`" if recipe.privacy.wanted else "`train.optimizer_in_backward`"
    if recipe.privacy.wanted or recipe.train.optimizer_in_backward:
        return "float32", f"this GPU has no bfloat16, and {exact} does not go with the scaled loss of float16"
    return "float16", "this GPU has no bfloat16 (compute capability below 8.0); the loss is scaled"


def _precision(recipe: Recipe, facts: Facts) -> tuple[Precision, str]:
    return precision_of(recipe, facts.machine)


def _num_processes(recipe: Recipe, facts: Facts) -> tuple[int, str]:
    started = facts.machine.processes
    return started, "as many as torchrun started" if started > 1 else "one process has all of the machine"


def _threads(recipe: Recipe, facts: Facts) -> tuple[int, str]:
    return facts.machine.cores, f"this machine has {facts.machine.cores} cores"


def _memory(recipe: Recipe, facts: Facts) -> tuple[str, str]:
    free = facts.machine.memory_bytes
    return format_memory(
        int(free * MEMORY_SHARE)
    ), f"{MEMORY_SHARE * 100:.0f} % of the {free / 1e9:.1f} GB that are free"


def _disk(recipe: Recipe, facts: Facts) -> tuple[str, str]:
    free = facts.machine.disk_bytes
    return format_memory(int(free * DISK_SHARE)), f"half of the {free / 1e9:.1f} GB that are free where the home lies"


def _stream_base(recipe: Recipe, facts: Facts) -> tuple[bool, str]:
    if divided(recipe):
        return False, "the processes hold the base together"
    weights, room = recipe.number_bytes * facts.model.num_parameters, own_memory(recipe)
    sizes = f"the base takes {weights / 1e9:.1f} GB in memory, and machine.memory allows {room / 1e9:.1f} GB"
    if weights <= room:
        return False, sizes
    if not may_stream(recipe):
        return False, f"{sizes}; only plain LoRA on float32 weights can leave them in their files"
    return True, f"{sizes}; its linear layers stay in their files and are read whenever they are needed"


def _power(recipe: Recipe, facts: Facts) -> tuple[float, str]:
    cores = f"{WATTS_PER_CORE} W a core, an assumption"
    if recipe.machine.device == "cuda":
        watts = facts.machine.cores * WATTS_PER_CORE + WATTS_PER_GPU
        return float(watts), f"{WATTS_PER_GPU} W for the GPU and {cores}"
    return float(facts.machine.cores * WATTS_PER_CORE), cores


def _up_to_8(tokens: int) -> int:
    return max(8, math.ceil(tokens / 8) * 8)


def _count(number: int) -> str:
    return f"{number / 1e9:.2g} B" if number >= 1e9 else f"{number / 1e6:.3g} M"


RULES: dict[str, Rule] = {
    "train.batch_size": _batch_size,
    "train.rehearsal": _rehearsal,
    "train.num_epochs": _num_epochs,
    "train.learning_rate": _learning_rate,
    "train.sequence_len": _sequence_len,
    "train.eval_steps": _eval_steps,
    "train.save_steps": _save_steps,
    "evaluate.metrics": _metrics,
    "train.metric_for_best_model": _best_metric,
    "evaluate.max_new_tokens": _max_new_tokens,
    "machine.device": _device,
    "train.precision": _precision,
    "machine.num_processes": _num_processes,
    "machine.threads": _threads,
    "machine.memory": _memory,
    "machine.disk": _disk,
    "machine.stream_base": _stream_base,
    "machine.power_watts": _power,
}
"""Every other key that can be `auto`, in the order in which they are filled: later ones use earlier ones."""
