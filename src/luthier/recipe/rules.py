"""Which settings of a recipe contradict each other, whatever the data and the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from luthier.recipe.accepts import Key, dotted, fields
from luthier.recipe.faults import Fault, refuse
from luthier.recipe.foreign import VALUES
from luthier.recipe.methods import HEADED
from luthier.recipe.types import Adapter, Metric, Part, Recipe, Train


def check(recipe: Recipe, where: str = "recipe") -> None:
    """Raise RecipeError where settings contradict each other, or one would have no effect."""
    faults = list(contradictions(recipe))
    if faults:
        refuse(faults, where, {})


def contradictions(recipe: Recipe) -> Iterator[Fault]:
    """Every contradiction between settings, in the order of the keys."""
    yield from _data(recipe)
    yield from _method(recipe)
    yield from _budget(recipe)
    yield from _evaluation(recipe)
    yield from _template(recipe)


def _data(recipe: Recipe) -> Iterator[Fault]:
    if all(entry.split != "train" for entry in recipe.data):
        yield Fault(("data",), "`data` has no train rows", "Leave out `split`, or write `split: train`, on an entry")
    if recipe.splits.validation + recipe.splits.test >= 1:
        yield Fault(
            ("splits",),
            "`splits.validation` and `splits.test` leave no train rows",
            "Make their sum smaller than 1",
        )
    low, high = recipe.curate.min_chars, recipe.curate.max_chars
    if high is not None and high < low:
        yield Fault(("curate", "max_chars"), f"`curate.max_chars` is {high}, below `curate.min_chars` ({low})")


def _template(recipe: Recipe) -> Iterator[Fault]:
    template = recipe.chat_template or ""
    if ("chat_template", template.lower()) in VALUES or "{" in template:
        yield Fault(
            ("chat_template",),
            "`chat_template` is not the path of a Jinja file",
            "Leave it out to use the model's own template, or write the template to a file",
        )


def _method(recipe: Recipe) -> Iterator[Fault]:
    adapter, objective = recipe.adapter.type, recipe.objective.type
    if adapter == "head" and objective not in HEADED:
        yield Fault(
            ("adapter", "type"),
            f"`adapter: head` trains a classifier or a reward, but `objective` is `{objective}`",
            "Write `objective: classify` or `reward`, or `adapter: lora`",
        )
    for name in _changed(recipe.adapter):
        if adapter not in READ_BY.get(name, ("lora",)):
            needs = " or ".join(f"`adapter: {kind}`" for kind in READ_BY.get(name, ("lora",)))
            yield _no_effect(("adapter", name), needs)
    for name in _changed(recipe.objective):
        if objective not in USED_BY.get(name, (objective,)):
            yield _no_effect(("objective", name), " or ".join(f"`objective: {kind}`" for kind in USED_BY[name]))
    if objective != "sft" and recipe.train.train_on != Train().train_on:
        yield _no_effect(("train", "train_on"), "`objective: sft`")
    if objective not in ("sft", "pretrain") and recipe.train.rehearsal not in ("auto", 0):
        yield _no_effect(("train", "rehearsal"), "`objective: sft` or `pretrain`")
    if objective != "sft" and recipe.evaluate.constrain != "none":
        yield _no_effect(("evaluate", "constrain"), "`objective: sft`")


def _budget(recipe: Recipe) -> Iterator[Fault]:
    if recipe.train.max_cost is not None and not recipe.machine.price_per_hour:
        yield Fault(
            ("train", "max_cost"),
            "`train.max_cost` needs the price of the machine",
            "Write `machine.price_per_hour`, in the same currency",
        )
    validated = recipe.splits.validation > 0 or any(entry.split == "validation" for entry in recipe.data)
    if recipe.train.early_stopping_patience is not None and not validated:
        yield Fault(
            ("train", "early_stopping_patience"),
            "`train.early_stopping_patience` needs validation rows",
            "Make `splits.validation` larger than 0, or add an entry with `split: validation`",
        )


READ_BY: dict[str, tuple[str, ...]] = {"type": get_args(Adapter.model_fields["type"].annotation),
                                        "num_layers": ("lora", "full")}  # fmt: skip
"""Which adapters read a key of the section; those that are not listed, LoRA alone."""
USED_BY = {"class_weights": ("classify",), "label_smoothing": ("classify", "dpo"), "beta": ("dpo",)}
"""Which objectives read a key of the section."""
CLASSIFY = ("accuracy", "macro_f1")
PREFERENCE = ("preference_accuracy",)
MEASURED: dict[str, tuple[str, ...]] = {
    "classify": CLASSIFY, "pretrain": ("nll",), "dpo": PREFERENCE, "reward": PREFERENCE,
    "sft": tuple(metric for metric in get_args(Metric) if metric not in PREFERENCE),
}  # fmt: skip
"""What can be measured of each objective on test rows."""
VALIDATED: dict[str, tuple[str, ...]] = {
    "classify": CLASSIFY, "pretrain": ("nll",), "sft": ("nll",), "dpo": ("loss", "accuracy"),
    "reward": ("loss", "accuracy"),
}  # fmt: skip
"""What is measured of each on the validation split while it is trained."""


def _evaluation(recipe: Recipe) -> Iterator[Fault]:
    objective, metrics, best = (
        recipe.objective.type,
        recipe.evaluate.metrics,
        recipe.train.metric_for_best_model,
    )
    allowed = MEASURED[objective]
    for index, metric in enumerate(metrics if metrics != "auto" else ()):
        if metric not in allowed:
            yield _not_measured(("evaluate", "metrics", index), metric, objective, allowed)
    if best != "auto" and best not in VALIDATED[objective]:
        yield _not_measured(("train", "metric_for_best_model"), best, objective, VALIDATED[objective])
    for name in ("metrics", "baselines"):
        listed = getattr(recipe.evaluate, name)
        if listed != "auto" and len(set(listed)) < len(listed):
            yield Fault(("evaluate", name), f"`evaluate.{name}` names something twice", "Keep one")
    tested = recipe.splits.test > 0 or any(entry.split == "test" for entry in recipe.data)
    if recipe.ship.require != "nothing" and not tested:
        yield Fault(
            ("ship", "require"),
            f"`ship.require: {recipe.ship.require}` needs test rows",
            "Make `splits.test` larger than 0, add an entry with `split: test`, or require `nothing`",
        )
    if recipe.ship.require != "nothing" and not recipe.evaluate.baselines:
        yield Fault(
            ("ship", "require"),
            f"`ship.require: {recipe.ship.require}` needs something to compare with",
            "Write `evaluate.baselines: [base]`, or `ship.require: nothing`",
        )
    if recipe.ship.require != "not_worse" and "margin" in _changed(recipe.ship):
        yield _no_effect(("ship", "margin"), "`ship.require: not_worse`")
    if "few_shot" not in recipe.evaluate.baselines and "shots" in _changed(recipe.evaluate):
        yield _no_effect(("evaluate", "shots"), "`few_shot` among `evaluate.baselines`")
    if not recipe.evaluate.forgetting and "forgetting_margin" in _changed(recipe.evaluate):
        yield _no_effect(("evaluate", "forgetting_margin"), "`evaluate.forgetting: true`")
    if (recipe.ship.alias or "").isdigit():
        yield Fault(("ship", "alias"), "`ship.alias` would read as the number of a version", "Write a word")


def _changed(section: Part) -> list[str]:
    """The names of the settings that are not the vetted ones."""
    vetted = type(section)()
    return [name for name in fields(type(section)) if getattr(section, name) != getattr(vetted, name)]


def _no_effect(key: Key, needs: str) -> Fault:
    return Fault(key, f"`{dotted(key)}` has no effect without {needs}", "Leave it out, or change the other")


def _not_measured(key: Key, metric: str, objective: str, allowed: tuple[str, ...]) -> Fault:
    listed = " and ".join(f"`{name}`" for name in allowed)
    return Fault(key, f"`{metric}` is not measured for `objective: {objective}`", f"The metrics there are {listed}")
