"""Everything short of training, without torch: recipe, model files, rows, token ids, facts, resolved recipe, forecast.

What is wrong with a user's input is found here, before a run, a version or a blob exists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import luthier.recipe as recipes
from luthier.data.example import Example
from luthier.data.pipeline import Prepared, prepare
from luthier.data.render import Renderer
from luthier.data.rendered import Rendered
from luthier.data.sharing import computed_share
from luthier.data.tokens import Tokens
from luthier.engine.accountant import Guarantee, guarantee
from luthier.engine.budget import Forecast, checkpointing
from luthier.engine.frozen import frozen
from luthier.engine.whole_job import forecast
from luthier.errors import RecipeError
from luthier.evaluate.answer_space import answer_space
from luthier.evaluate.constrain import AllowedTokens
from luthier.jobs.fitting_recipe import check_coverage, check_division, check_names
from luthier.jobs.machine import free_disk, machine_facts
from luthier.jobs.rewards import reward_of
from luthier.jobs.rows import render_split, rendering_of
from luthier.models.activations import kept_numbers
from luthier.models.extras import require_bitsandbytes
from luthier.models.families import enters, kind_of, width_and_depth
from luthier.models.kept_states import STATES, are_kept, states_key
from luthier.models.locate import ModelFiles, locate
from luthier.recipe import (
    BESIDE,
    HEADED,
    ON_POLICY,
    DataFacts,
    Facts,
    MachineFacts,
    ModelFacts,
    Reason,
    Recipe,
    Resolved,
    rows_each,
)
from luthier.store import Home

Note = Callable[[str], None]


@dataclass(frozen=True)
class Ready:
    """A run that could start."""

    source: Recipe
    """As written, with absolute data paths."""
    resolved: Resolved
    files: ModelFiles
    data: Prepared
    rendered: dict[str, Rendered]
    facts: Facts
    forecast: Forecast
    privacy: Guarantee | None

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self.resolved.recipe


def get_ready(recipe_path: Path, overrides: Sequence[str], home: Home, note: Note) -> Ready:
    """Load, read, render and resolve. Raises a LuthierError where the input is wrong; writes nothing but caches."""
    loaded = recipes.load(recipe_path, overrides)
    source = recipes.resolve_paths(loaded.recipe, loaded.base)
    return make_ready(source, loaded.base, home, note, machine_facts())


def make_ready(source: Recipe, base: Path, home: Home, note: Note, machine: MachineFacts) -> Ready:
    """As `get_ready`, from a recipe and a machine in hand."""
    files = locate(source.base_model, home.cache("models"), note, source.number_format,
                   precision=recipes.precision_of(source, machine)[0])  # fmt: skip
    if source.train.optimizer != "adamw":
        require_bitsandbytes("moments of eight bits", "train.optimizer")
    data = prepare(source, base, home=home)
    check_names(source, files, data.labels)
    if source.objective.type in ON_POLICY:
        reward_of(source.objective.reward)
    renderer = renderer_of(files, source)
    cache = home.cache("rendered")
    rendered = {
        split: render_split(renderer, rows, cache, rendering_of(source, None, split), note)
        for split, rows in data.splits.items()
        if rows
    }
    teacher = teacher_facts(source, files, home.cache("models"), note)
    kept = sum(file.stat().st_size for file in home.cache(STATES).glob("*.npy"))
    machine = replace(machine, disk_bytes=free_disk(home.root) + kept)
    model = model_facts(files, source)
    facts = Facts(model, data_facts(source, data, rendered, renderer), machine, teacher,
                  states_kept(source, files, model, rendered, home))  # fmt: skip
    resolved = with_checkpointing(recipes.resolve(source, facts), facts)
    check_division(resolved.recipe, files)
    length = int(resolved.recipe.train.sequence_len)
    if facts.data.longest_tokens > length:
        rendered = {
            split: render_split(renderer, data.splits[split], cache, rendering_of(resolved.recipe, length, split), note)
            for split in rendered
        }
    check_coverage(source, rendered)
    if source.evaluate.constrain != "none":
        AllowedTokens(answer_space(data.splits["train"]), renderer.encode, renderer.eos_ids)
    promise = guarantee(resolved.recipe, len(rendered["train"]))
    if promise is not None:
        resolved = replace(resolved, reasons=(*resolved.reasons, privacy_reason(resolved.recipe, promise)))
    below = frozen(resolved.recipe, facts)
    if below is not None:
        why = Reason("adapter.num_layers", resolved.recipe.adapter.num_layers, below.why)
        resolved = replace(resolved, reasons=(*resolved.reasons, why))
    return Ready(source, resolved, files, data, rendered, facts, forecast(resolved.recipe, facts), promise)


def renderer_of(files: ModelFiles, recipe: Recipe) -> Renderer:
    """The base's tokenizer and chat template, or the template that the recipe names."""
    return Renderer.from_folder(files.folder, template_of(recipe))


def template_of(recipe: Recipe) -> str | None:
    """The chat template that the recipe names, as text. Raises RecipeError where it cannot be read."""
    if recipe.chat_template is None:
        return None
    try:
        return Path(recipe.chat_template).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise RecipeError(f"the template cannot be read: {why}", "chat_template",
                          "Give the path of a Jinja file") from error  # fmt: skip


def model_facts(files: ModelFiles, recipe: Recipe) -> ModelFacts:
    """From config.json, and the recipe's virtual tokens."""
    length = files.context_length - recipe.adapter.virtual_tokens
    return shape_facts(files.name, files.config, files.num_parameters, length)


def shape_facts(name: str, config: Mapping[str, Any], num_parameters: int, length: int) -> ModelFacts:
    """Of a model with this config.json, which reads so many tokens."""
    text = config.get("text_config", config)
    width, depth = width_and_depth(text)
    return ModelFacts(
        name, kind_of(config, name), num_parameters, width, depth, length, int(text.get("vocab_size") or 1),
        enters(str(config["model_type"])), *kept_numbers(text),
    )  # fmt: skip


def states_kept(
    recipe: Recipe, files: ModelFiles, model: ModelFacts, rendered: dict[str, Rendered], home: Home
) -> bool:
    """Whether the output of the frozen blocks of an earlier run on the same train rows is in the cache."""
    layers = recipe.adapter.num_layers
    if layers == "all" or layers >= model.num_layers or "train" not in rendered:
        return False
    key = states_key(files.weights_key, model.num_layers - layers)
    return are_kept(home.cache(STATES), key, rendered["train"], model.hidden_size)


def teacher_facts(recipe: Recipe, files: ModelFiles, cache: Path, note: Note) -> ModelFacts | None:
    """Of the model that the objective imitates. Raises RecipeError where it has other tokens than the base."""
    if recipe.objective.teacher is None:
        return None
    teacher = locate(recipe.objective.teacher, cache, note)
    own, other = (Tokens.from_folder(each.folder).vocabulary for each in (files, teacher))
    if own != other:
        differ = len(own.items() ^ other.items())
        raise RecipeError(
            f"`{teacher.name}` and `{files.name}` have different tokens ({differ:,} of them differ), so what they say "
            "cannot be compared", "objective.teacher", "Name a teacher of the same family",
        )  # fmt: skip
    return model_facts(teacher, recipe)


def with_checkpointing(resolved: Resolved, facts: Facts) -> Resolved:
    """Whether blocks are computed again, as the memory of the machine has it."""
    recipe, why = checkpointing(resolved.recipe, facts)
    if why is None:
        return resolved
    reason = Reason("train.gradient_checkpointing", recipe.train.gradient_checkpointing, why)
    return Resolved(recipe, (*resolved.reasons, reason))


def privacy_reason(recipe: Recipe, promise: Guarantee) -> Reason:
    """The noise that a wanted ε takes, or the ε that the noise gives."""
    noise, bound = f"noise of {promise.noise_multiplier:.3g} × {promise.max_grad_norm:g}", f"δ = {promise.delta:g}"
    drawn = f"each row is drawn with probability {promise.sample_rate:.3g} at each of {promise.steps:,} steps"
    if recipe.privacy.target_epsilon is None:
        return Reason("privacy.target_epsilon", round(promise.epsilon, 3), f"{noise} at {bound}; {drawn}")
    found = f"ε = {promise.epsilon:.3g} at {bound}, by Rényi differential privacy"
    return Reason("privacy.noise_multiplier", round(promise.noise_multiplier, 4), f"{found}; {drawn}")


def data_facts(recipe: Recipe, data: Prepared, rendered: dict[str, Rendered], renderer: Renderer) -> DataFacts:
    """Counts and token lengths over all splits."""
    import numpy as np

    lengths = np.concatenate([part.lengths for part in rendered.values()])
    train = rendered.get("train")
    trained = 0.0 if train is None else float(np.count_nonzero(train.weights)) / max(1, len(train))
    own = [rows for name, rows in data.splits.items() if name not in BESIDE.values()]
    answers = [a for rows in own for a in map(Example.answer, rows) if a is not None]
    longest = [] if recipe.objective.type in HEADED else sorted(set(answers), key=len)[-20:]
    return DataFacts(
        task=data.task, rows={name: len(rows) for name, rows in data.splits.items()}, labels=len(data.labels),
        longest_tokens=int(lengths.max()), p95_tokens=int(np.quantile(lengths, 0.95)),
        mean_tokens=float(lengths.mean()) * rows_each(recipe),
        mean_trained_tokens=trained * rows_each(recipe),
        longest_answer_tokens=max((len(renderer.encode(text)) for text in longest), default=1),
        types=tuple(source.detected for source in data.sources),
        computed_share=shared_by(recipe, train), answers_are_json=bool(answers) and all(map(_is_object, answers)),
    )  # fmt: skip


def shared_by(recipe: Recipe, train: Rendered | None) -> float:
    """The share of the training rows' tokens that is computed; all where rows share nothing."""
    if train is None or recipe.objective.type in ON_POLICY or recipe.objective.type == "classify":
        return 1.0
    return computed_share(train, rows_each(recipe))


def data_part(ready: Ready, dataset: str | None) -> dict[str, Any]:
    """The `data` block of the run document."""
    found = ready.data
    reports = [part.report for part in ready.rendered.values()]
    return {
        "version": dataset, "splits": {name: len(rows) for name, rows in found.splits.items()},
        "steps": [asdict(step) for step in found.steps], "notes": list(found.notes),
        "sources": [
            {"path": str(s.path), "type": s.detected, "why": s.why, "rows": s.rows, "sha256": s.sha256,
             "licence": e.licence}
            for s, e in zip(found.sources, ready.recipe.data, strict=True)
        ],
        "coverage": {
            "tokens": sum(r.tokens for r in reports), "trained_tokens": sum(r.trained_tokens for r in reports),
            "truncated": sum(len(r.truncated) for r in reports), "longest": max(r.longest for r in reports),
            "zero_coverage": [row for r in reports for row in r.zero_coverage],
        },
    }  # fmt: skip


def _is_object(text: str) -> bool:
    import json

    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
