"""Several processes that train together: how many, and what they cannot do."""

from __future__ import annotations

from collections.abc import Iterator

from luthier.recipe.facts import Facts
from luthier.recipe.faults import Fault
from luthier.recipe.methods import ON_POLICY
from luthier.recipe.types import Recipe
from luthier.recipe.units import parse_memory

SHARDED = ("lora", "full")
"""Adapters that are learnt where no process holds all of the model."""


def processes(recipe: Recipe, facts: Facts) -> int:
    """How many there are."""
    asked = recipe.machine.num_processes
    return facts.machine.processes if asked == "auto" else asked


def divided(recipe: Recipe) -> bool:
    """Of a resolved recipe: whether no process holds all of the model."""
    return int(recipe.machine.num_processes) > 1 and recipe.machine.parallel != "replicate"


def sharing(recipe: Recipe) -> int:
    """Of a resolved recipe: processes that share `machine.memory`, all on a CPU; on GPUs each has its own."""
    return int(recipe.machine.num_processes) if recipe.machine.device == "cpu" else 1


def own_memory(recipe: Recipe) -> float:
    """Of a resolved recipe: bytes that one process may take."""
    return parse_memory(str(recipe.machine.memory)) / sharing(recipe)


def misfits_together(recipe: Recipe, facts: Facts) -> Iterator[Fault]:
    """What the recipe asks of several processes and they cannot give."""
    asked, count, started = ("machine", "num_processes"), processes(recipe, facts), facts.machine.processes
    if count == 1:
        return
    if started not in (1, count):
        yield Fault(asked, f"`machine.num_processes` is {count}, and torchrun started {started} processes",
                    "Leave the key out, or start as many")  # fmt: skip
    if started == 1 and recipe.machine.device != "cpu" and 0 < facts.machine.gpus < count:
        yield Fault(asked, f"`machine.num_processes` is {count}, and each takes one of {facts.machine.gpus} GPUs",
                    f"Write at most {facts.machine.gpus}")  # fmt: skip
    if recipe.objective.type in ON_POLICY:
        yield Fault(asked, f"`objective: {recipe.objective.type}` samples its answers in one process",
                    "Write `num_processes: 1`")  # fmt: skip
    if recipe.train.optimizer_in_backward:
        yield Fault(("train", "optimizer_in_backward"), f"each of {count} processes would take steps of its own",
                    "Leave it out, or write `num_processes: 1`")  # fmt: skip
    size = recipe.train.batch_size
    if size != "auto" and size < count and recipe.machine.parallel != "tensor":
        yield Fault(("train", "batch_size"), f"a step of {size} rows leaves some of {count} processes without any",
                    f"Write at least {count}")  # fmt: skip
    if recipe.machine.parallel != "replicate":
        yield from _sharded(recipe)


def _sharded(recipe: Recipe) -> Iterator[Fault]:
    how = f"`machine.parallel: {recipe.machine.parallel}`"
    mend = "Write `parallel: replicate`, or change the other"
    if recipe.adapter.type not in SHARDED:
        yield Fault(("adapter", "type"), f"{how} learns {' or '.join(f'`{kind}`' for kind in SHARDED)}", mend)
    others: dict[tuple[str, ...], bool] = {
        ("load_in_4bit",): recipe.load_in_4bit,
        ("load_in_8bit",): recipe.load_in_8bit,
        ("machine", "stream_base"): recipe.machine.stream_base is True,
        ("train", "optimizer"): recipe.train.optimizer != "adamw",
        ("adapter", "use_dora"): recipe.adapter.use_dora,
        ("adapter", "lora_dropout"): bool(recipe.adapter.lora_dropout),
        ("objective", "beside"): bool(recipe.objective.beside),
        ("train", "ewc_lambda"): bool(recipe.train.ewc_lambda),
        ("privacy",): recipe.privacy.wanted,
    }
    for key, wanted in others.items():
        if wanted:
            yield Fault(key, f"`{'.'.join(key)}` does not work with {how}", mend)
