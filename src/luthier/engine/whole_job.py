"""The forecast of a whole job by counting: what happens before the first step, the fit, and what follows it."""

from __future__ import annotations

from dataclasses import replace

from luthier.engine import budget
from luthier.engine.budget import DECODING, Forecast, forward_operations, operations_before
from luthier.engine.speed import operations_a_second
from luthier.engine.trained_size import trained_parameters
from luthier.recipe.facts import Facts
from luthier.recipe.methods import HEADED, ON_POLICY, PAIRED, rows_each, total_steps
from luthier.recipe.types import Recipe

STEP_SECONDS = 0.005
"""Of a step, whatever it computes."""
UPDATE_SECONDS = 3e-9
"""Of the optimizer, for each trained weight in each step."""
START_SECONDS = 4.0
"""Of opening the rows, loading the model, writing and registering what was learnt."""
FORGETTING_TOKENS = 20_000
"""Tokens of the passages and questions that show what was forgotten; the base and the tuned model read them."""
MODELS = ("base", "few_shot", "in_service")
"""Baselines that run a language model."""


def forecast(recipe: Recipe, facts: Facts) -> Forecast:
    """Of the fit, with its validations, and of the whole job; `recipe` must be resolved."""
    found = budget.forecast(recipe, facts)
    speed = operations_a_second(recipe, facts)
    frozen = 0.0 if facts.states_kept else budget.frozen_operations(recipe, facts, found.frozen_blocks)
    before = (before_operations(recipe, facts) + facts.data.rows["train"] * frozen) / speed
    steps = found.steps * (STEP_SECONDS + UPDATE_SECONDS * trained_parameters(recipe, facts))
    seconds = (
        found.seconds + steps + validations(recipe, facts, found.steps) * validation_operations(recipe, facts) / speed
    )
    job = START_SECONDS + before + seconds + evaluation_operations(recipe, facts) / speed
    cost = (before + seconds) / 3600 * recipe.machine.price_per_hour
    return replace(found, seconds=seconds, before_seconds=before, job_seconds=job, cost=cost)


def before_operations(recipe: Recipe, facts: Facts) -> float:
    """Of what is computed once: what a frozen or untouched trunk says of the rows, the policy at step 0 of the pairs,
    and a teacher of which only the likeliest tokens are kept."""
    rows = facts.data.rows
    learnt = rows["train"] + rows.get("validation", 0)
    if recipe.adapter.type == "head":
        return learnt * forward_operations(recipe, facts)
    if recipe.objective.type == "classify":
        return rows["train"] * forward_operations(recipe, facts)  # for the first head
    taken = min(rows["train"], total_steps(recipe, rows["train"]) * int(recipe.train.batch_size))
    asked = taken + (rows.get("validation", 0) if recipe.objective.type == "dpo" else 0)
    return asked * operations_before(recipe, facts)


def validations(recipe: Recipe, facts: Facts, steps: int) -> int:
    """How often the policy is measured in so many steps."""
    return -(-steps // int(recipe.train.eval_steps)) if facts.data.rows.get("validation") else 0


def validation_operations(recipe: Recipe, facts: Facts) -> float:
    """Of one of them: a forward pass over its rows, or an answer to each."""
    rows = facts.data.rows.get("validation", 0)
    if recipe.adapter.type == "head":
        return 0.0
    if recipe.objective.type in ON_POLICY:
        return rows * answering(recipe, facts, int(recipe.evaluate.max_new_tokens))
    return rows * forward_operations(recipe, facts)


def answering(recipe: Recipe, facts: Facts, tokens: float) -> float:
    """Of an answer of so many tokens to a usual prompt."""
    model, data = facts.model, facts.data
    table = model.vocab_size * model.hidden_size
    prompt = data.mean_tokens / rows_each(recipe) - data.mean_trained_tokens / rows_each(recipe)
    return 2.0 * ((model.num_parameters - table) * prompt + DECODING * model.num_parameters * tokens)


def evaluation_operations(recipe: Recipe, facts: Facts) -> float:
    """Of the tuned model and of the baselines that run a model, on the test rows, and of what was forgotten."""
    settings, model = recipe.evaluate, facts.model
    rows = min(facts.data.rows.get("test", 0), settings.max_rows or facts.data.rows.get("test", 0))
    if recipe.objective.type in HEADED:
        return rows * forward_operations(recipe, facts)
    texts = set(settings.metrics) - {"nll"} and recipe.objective.type not in PAIRED
    answer = facts.data.mean_trained_tokens / rows_each(recipe)
    each = answering(recipe, facts, answer) if texts else forward_operations(recipe, facts)
    solvers = 1 + len(set(settings.baselines) & set(MODELS))
    shown = settings.shots * ("few_shot" in settings.baselines) * facts.data.mean_tokens * 2 * model.num_parameters
    forgotten = 2 * FORGETTING_TOKENS * 2 * model.num_parameters if settings.forgetting and rows else 0
    return rows * (solvers * each + shown) + forgotten
