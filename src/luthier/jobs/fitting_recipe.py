"""Whether a recipe fits the model and the rows that it names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from luthier.data.rendered import Rendered
from luthier.errors import RecipeError
from luthier.models.families import SPLIT, WITHOUT_PREFIX, packs
from luthier.models.locate import ModelFiles
from luthier.models.weights import module_names, weight_files
from luthier.recipe import HEADED, Recipe


def check_names(recipe: Recipe, files: ModelFiles, labels: Sequence[str]) -> None:
    """Raise RecipeError where the recipe names a layer that the model has not, a label that no row has, or an adapter
    that the model's family does not take."""
    family = str(files.config["model_type"])
    if recipe.adapter.virtual_tokens and not packs(family):
        raise RecipeError(f"models of the family {family} are padded and take no virtual tokens", "adapter.type",
                          "Write `lora`")  # fmt: skip
    if recipe.adapter.type == "prefix" and family in WITHOUT_PREFIX:
        raise RecipeError(f"models of the family {family} take no prefix", "adapter.type", "Write `prompt` or `lora`")
    modules = module_names(weight_files(files.folder))
    asked = recipe.adapter.lora_target_modules
    _known("adapter.lora_target_modules", () if asked == "all-linear" else asked, modules, "layer of the model")
    weights = recipe.objective.class_weights
    _known("objective.class_weights", weights if isinstance(weights, dict) else (), labels, "label of the rows")


def check_division(recipe: Recipe, files: ModelFiles) -> None:
    """Raise RecipeError where the model cannot be divided among processes as the recipe asks."""
    how, count, config = recipe.machine.parallel, int(recipe.machine.num_processes), files.config
    if how == "replicate" or count == 1:
        return
    family, key = str(config["model_type"]), "machine.parallel"
    if how == "fsdp" and not packs(family):
        raise RecipeError(f"models of the family {family} are padded and cannot be shared out", key,
                          "Write `replicate`")  # fmt: skip
    if how == "tensor" and family not in SPLIT:
        raise RecipeError(f"layers of the family {family} cannot be split; those of {', '.join(sorted(SPLIT))} can",
                          key, "Write `fsdp` or `replicate`")  # fmt: skip
    heads = config.get("num_attention_heads", 1)
    widths = {"key heads": config.get("num_key_value_heads") or heads, "inner units": config.get("intermediate_size")}
    for what, number in widths.items() if how == "tensor" else ():
        if number % count:
            raise RecipeError(f"{number} {what} cannot be split into {count} equal parts", "machine.num_processes",
                              "Write a number that divides them, or `parallel: fsdp`")  # fmt: skip


def _known(key: str, asked: Iterable[str], known: Iterable[str], what: str) -> None:
    from difflib import get_close_matches

    for name in asked:
        if name.rpartition(".")[2] not in set(known) and name not in known:
            near = get_close_matches(name, sorted(known), 1)
            mend = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(sorted(known)[:12])}"
            raise RecipeError(f"{name!r} is no {what}", key, mend)


def check_coverage(recipe: Recipe, rendered: dict[str, Rendered]) -> None:
    """Raise RecipeError where no token of the training rows would be learnt."""
    train = rendered.get("train")
    if train is not None and recipe.objective.type not in HEADED and not train.weights.any():
        raise RecipeError("no token of any training row would be learnt", "train.train_on",
                          "`luthier data inspect` shows what each row looks like after rendering")  # fmt: skip
