"""Which settings of a recipe contradict each other, whatever the data and the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from luthier.recipe.accepts import Key, fields
from luthier.recipe.beside import contradictions_beside
from luthier.recipe.faults import Fault, refuse
from luthier.recipe.faults import no_effect as _no_effect
from luthier.recipe.foreign import VALUES
from luthier.recipe.held import held_base
from luthier.recipe.memory_rules import memory_faults
from luthier.recipe.methods import HEADED, METHODS, ON_POLICY
from luthier.recipe.types import Adapter, Objective, Recipe, Train
from luthier.recipe.values import Metric, Part


def check(recipe: Recipe, where: str = "recipe") -> None:
    """Raise RecipeError where settings contradict each other, or one would have no effect."""
    faults = list(contradictions(recipe))
    if faults:
        refuse(faults, where, {})


def contradictions(recipe: Recipe) -> Iterator[Fault]:
    """Every contradiction between settings, in the order of the keys."""
    yield from _data(recipe)
    yield from _adapter(recipe)
    yield from _method(recipe)
    yield from _earlier(recipe)
    yield from contradictions_beside(recipe, TEXT)
    yield from _privacy(recipe)
    yield from memory_faults(recipe)
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
    elif (adapter, objective) not in METHODS:
        known = sorted(kind for kind, other in METHODS if other == objective)
        yield Fault(
            ("adapter", "type"),
            f"`adapter: {adapter}` does not learn `objective: {objective}`",
            f"Adapters that do are {', '.join(f'`{kind}`' for kind in known)}",
        )
    learnt = {objective, recipe.objective.beside_type} if recipe.objective.beside else {objective}
    for name in _changed(recipe.objective):
        if not learnt & set(USED_BY[name]):
            yield _no_effect(("objective", name), " or ".join(f"`objective: {kind}`" for kind in USED_BY[name]))
    if objective == "distill":
        yield from _teacher(recipe.objective)
    if objective in ON_POLICY:
        yield from _sampled(recipe)
    if objective not in LEARNT and recipe.train.train_on != Train().train_on:
        yield _no_effect(("train", "train_on"), "`objective: sft`")
    if objective not in TEXT and recipe.train.rehearsal not in ("auto", 0):
        yield _no_effect(("train", "rehearsal"), "`objective: sft` or `pretrain`")
    if objective not in ANSWERS and recipe.evaluate.constrain != "none":
        yield _no_effect(("evaluate", "constrain"), "an objective that writes answers")


def _adapter(recipe: Recipe) -> Iterator[Fault]:
    adapter = recipe.adapter.type
    for name in _changed(recipe.adapter):
        if adapter not in READ_BY.get(name, ("lora",)):
            needs = " or ".join(f"`adapter: {kind}`" for kind in READ_BY.get(name, ("lora",)))
            yield _no_effect(("adapter", name), needs)
    yield from held_base(recipe)
    if adapter == "adalora" and recipe.adapter.target_r >= recipe.adapter.init_r:
        yield Fault(
            ("adapter", "target_r"),
            f"`adapter.target_r` is {recipe.adapter.target_r}, not below `adapter.init_r` ({recipe.adapter.init_r})",
            "Start with more ranks than are to be left",
        )


def _teacher(objective: Objective) -> Iterator[Fault]:
    if objective.teacher is None:
        yield Fault(("objective", "teacher"), "`objective: distill` needs a teacher",
                    "Write `objective: {type: distill, teacher: …}` with a model named as at `base_model`")  # fmt: skip
    if objective.divergence != "js" and "jsd_beta" in _changed(objective):
        yield _no_effect(("objective", "jsd_beta"), "`objective.divergence: js`")


def _earlier(recipe: Recipe) -> Iterator[Fault]:
    train, given = recipe.train, [index for index, entry in enumerate(recipe.data) if entry.split == "earlier"]
    used = [name for name in ("replay", "ewc_lambda") if getattr(train, name)]
    for name in used:
        if not given:
            yield Fault(("train", name), f"`train.{name}` needs earlier data", "Add an entry with `split: earlier`")
        if recipe.objective.type not in TEXT:
            yield _no_effect(("train", name), "`objective: sft` or `pretrain`")
    if given and not used:
        yield _no_effect(("data", given[0], "split"), "`train.replay` or `train.ewc_lambda`")


def _privacy(recipe: Recipe) -> Iterator[Fault]:
    asked, objective = recipe.privacy, recipe.objective
    if not asked.wanted:
        for name in _changed(asked):
            yield _no_effect(("privacy", name), "`privacy.target_epsilon`")
        return
    if None not in (asked.target_epsilon, asked.noise_multiplier):
        yield Fault(("privacy", "noise_multiplier"), "`privacy.noise_multiplier` contradicts `privacy.target_epsilon`",
                    "Keep one: each follows from the other")  # fmt: skip
    if objective.type not in PRIVATE:
        yield Fault(("privacy",), f"`objective: {objective.type}` compares rows, so no row has a gradient of its own",
                    "Leave `privacy` out")  # fmt: skip
    if not recipe.train.max_grad_norm:
        yield Fault(("train", "max_grad_norm"), "`privacy` needs a bound on each row's gradient",
                    "Write a number above 0, such as 1.0")  # fmt: skip
    if objective.class_weights == "balanced":
        yield Fault(("objective", "class_weights"), "`balanced` counts the private rows",
                    "Write the weight of each class, or leave it out")  # fmt: skip
    for name in ("replay", "ewc_lambda"):
        if getattr(recipe.train, name):
            yield Fault(("train", name), f"earlier rows count more than once in `train.{name}`, which is not private",
                        "Leave it or `privacy` out, or give them as rows")  # fmt: skip


def _sampled(recipe: Recipe) -> Iterator[Fault]:
    """What answers that are sampled from the policy do not allow."""
    if recipe.objective.type == "grpo" and recipe.objective.num_generations < 2:
        what = "`grpo` compares the answers to one prompt, and `objective.num_generations` is 1"
        yield Fault(("objective", "num_generations"), what, "Write at least 2, or `objective: ppo`")
    if recipe.adapter.lora_dropout:
        what = "with `adapter.lora_dropout`, answers would be sampled from another policy than the one that learns"
        yield Fault(("adapter", "lora_dropout"), what, "Leave it out")


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


LORAS, BOTTLENECK, ADALORA = ("lora", "adalora"), ("bottleneck",), ("adalora",)
READ_BY: dict[str, tuple[str, ...]] = {
    "type": get_args(Adapter.model_fields["type"].annotation),
    "num_layers": ("lora", "full", "ia3", "bottleneck", "adalora"),
    "lora_alpha": LORAS,
    "lora_dropout": LORAS,
    "lora_target_modules": LORAS,
    "bottleneck_size": BOTTLENECK,
    "bottleneck_placement": BOTTLENECK,
    "init_r": ADALORA,
    "target_r": ADALORA,
    "orth_reg_weight": ADALORA,
    "num_virtual_tokens": ("prefix", "prompt"),
}
"""Which adapters read a key of the section; those that are not listed, LoRA alone."""
LEARNT = ("sft", "distill")
"""Objectives that learn the answers of the data."""
ANSWERS = (*LEARNT, "grpo", "ppo")
"""Objectives that teach to answer."""
TEXT = ("sft", "pretrain", "distill")
"""Objectives that learn text."""
PRIVATE = ("sft", "pretrain", "classify", "distill")
"""Objectives in which each row has a loss of its own."""
USED_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("type", "beside", "beside_type"), get_args(Objective.model_fields["type"].annotation)),
    "class_weights": ("classify",),
    "label_smoothing": ("classify", "dpo"),
    "beta": ("dpo",),
    **dict.fromkeys(("teacher", "divergence", "jsd_beta", "top_k"), ("distill",)),
    "temperature": ("distill", "grpo", "ppo"),
    **dict.fromkeys(("loss_type", "scale_rewards"), ("grpo",)),
    **dict.fromkeys(("gamma", "lam", "vf_coef"), ("ppo",)),
    **dict.fromkeys(("reward", "num_generations", "num_iterations", "epsilon", "kl_coef"), ("grpo", "ppo")),
}
"""Which objectives read a key of the section."""
CLASSIFY = ("accuracy", "macro_f1")
PREFERENCE = ("preference_accuracy",)
MEASURED: dict[str, tuple[str, ...]] = {
    "classify": CLASSIFY, "pretrain": ("nll",), "dpo": PREFERENCE, "reward": PREFERENCE,
    **dict.fromkeys(ANSWERS, tuple(metric for metric in get_args(Metric) if metric not in PREFERENCE)),
}  # fmt: skip
"""What can be measured of each objective on test rows."""
VALIDATED: dict[str, tuple[str, ...]] = {
    "classify": CLASSIFY, **dict.fromkeys(TEXT, ("nll",)), **dict.fromkeys(("dpo", "reward"), ("loss", "accuracy")),
    **dict.fromkeys(sorted(ON_POLICY), ("reward",)),
}  # fmt: skip
"""What is measured of each on the validation split while it is trained."""


def _evaluation(recipe: Recipe) -> Iterator[Fault]:
    objective, metrics, best = (
        recipe.objective.type,
        recipe.evaluate.metrics,
        recipe.train.metric_for_best_model,
    )
    allowed = MEASURED.get(objective, get_args(Metric))
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
    if "in_service" in recipe.evaluate.baselines and recipe.ship.alias is None:
        yield _no_effect(("evaluate", "baselines"), "`ship.alias`, which says what is in service")
    if not recipe.evaluate.forgetting and "forgetting_margin" in _changed(recipe.evaluate):
        yield _no_effect(("evaluate", "forgetting_margin"), "`evaluate.forgetting: true`")
    if (recipe.ship.alias or "").isdigit():
        yield Fault(("ship", "alias"), "`ship.alias` would read as the number of a version", "Write a word")


def _changed(section: Part) -> list[str]:
    """The names of the settings that are not the vetted ones."""
    vetted = type(section)()
    return [name for name in fields(type(section)) if getattr(section, name) != getattr(vetted, name)]


def _not_measured(key: Key, metric: str, objective: str, allowed: tuple[str, ...]) -> Fault:
    listed = " and ".join(f"`{name}`" for name in allowed)
    return Fault(key, f"`{metric}` is not measured for `objective: {objective}`", f"The metrics there are {listed}")
