"""What a fit will take: floating-point operations, seconds, bytes, and the size of its micro-batches."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.recipe.facts import Facts
from luthier.recipe.methods import HEADED, rehearsed, rows_each, total_steps
from luthier.recipe.types import Recipe
from luthier.recipe.units import parse_memory

EFFICIENCY = {"cpu": 0.55, "cuda": 0.35}
"""The share of the measured matrix-multiplication speed that a fit reaches."""
BEST_MICRO_BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}
"""Where speed stops growing with the micro-batch, and the cache begins to suffer."""
PROCESS_BYTES = 600e6
"""Python with torch and transformers loaded."""
HEAD_CHUNK_TOKENS = 256
LANE_TOKENS = 128
"""Tokens of a step that make a lane worth having."""
ACTIVATIONS_PER_LAYER = 34
"""Floats kept for the backward for each token, layer and hidden dimension."""


@dataclass(frozen=True)
class Forecast:
    """Of the fit alone: steps, tokens of data, seconds, bytes at the peak, and the tokens of a micro-batch."""

    steps: int
    tokens: int
    seconds: float
    peak_memory_bytes: int
    micro_batch_tokens: int
    cost: float
    lanes: int
    """Micro-batches that are worked on side by side."""


def forecast(recipe: Recipe, facts: Facts) -> Forecast:
    """From counts of operations and the measured speed of the machine; `recipe` must be resolved."""
    rows = facts.data.rows["train"]
    steps = total_steps(recipe, rows)
    rows += rehearsed(recipe, rows)
    seen = min(steps * int(recipe.train.batch_size), round(rows * float(recipe.train.num_epochs)))
    passes = 1.0 if recipe.adapter.type == "head" else seen / rows
    tokens = int(seen * facts.data.mean_tokens)
    operations = passes * rows * row_operations(recipe, facts)
    if recipe.objective.type == "dpo":
        operations += min(passes, 1) * rows * forward_operations(recipe, facts)  # the policy at step 0
    seconds = operations / (facts.machine.gemm_gflops * 1e9 * EFFICIENCY[facts.machine.device])
    budget = micro_batch_tokens(recipe, facts)
    side = lanes(recipe, facts)
    peak = fixed_bytes(recipe, facts) + side * lane_bytes(recipe, facts, budget)
    cost = seconds / 3600 * recipe.machine.price_per_hour
    return Forecast(steps, tokens, seconds, int(peak), budget, cost, side)


def row_operations(recipe: Recipe, facts: Facts) -> float:
    """Floating-point operations for one average example: 2 a weight forward, as many for the gradient of the input, and
    as many again where the weights are trained."""
    backward = {"head": 0, "lora": 1, "full": 2}[recipe.adapter.type] * trained_share(recipe, facts)
    return (1 + backward) * forward_operations(recipe, facts)


def forward_operations(recipe: Recipe, facts: Facts) -> float:
    """Those of a forward pass alone."""
    model, data = facts.model, facts.data
    trunk = model.num_parameters - model.vocab_size * model.hidden_size
    head = 0 if recipe.objective.type in HEADED else model.vocab_size * model.hidden_size
    return 2 * (trunk * data.mean_tokens + head * data.mean_trained_tokens)


def micro_batch_tokens(recipe: Recipe, facts: Facts) -> int:
    """Tokens of a micro-batch: the fastest size, or what memory allows, but never less than the longest example."""
    room = _room(recipe, facts) / lanes(recipe, facts) - lane_bytes(recipe, facts, 0)
    fits = int(room / token_bytes(recipe, facts))
    return max(_longest(recipe, facts), min(BEST_MICRO_BATCH_TOKENS[facts.machine.device], fits))


def lanes(recipe: Recipe, facts: Facts) -> int:
    """Micro-batches side by side: one a core, if each has enough to do and memory allows.

    One where nothing but a head is trained, and where dropout draws from the one random state.
    """
    if facts.machine.device != "cpu" or recipe.adapter.type == "head" or recipe.adapter.lora_dropout:
        return 1
    fits = int(_room(recipe, facts) / lane_bytes(recipe, facts, _longest(recipe, facts)))
    worth = int(recipe.train.batch_size) * facts.data.mean_tokens / LANE_TOKENS
    return max(1, min(int(recipe.machine.threads), int(recipe.train.batch_size), fits, int(worth)))


def lane_bytes(recipe: Recipe, facts: Facts, tokens: int) -> float:
    """A micro-batch under way, its gradient, and the buffer of the output head."""
    model = facts.model
    head = 0 if recipe.objective.type in HEADED else 2 * HEAD_CHUNK_TOKENS * model.vocab_size
    return 4.0 * (trained_parameters(recipe, facts) + head) + tokens * token_bytes(recipe, facts)


def fixed_bytes(recipe: Recipe, facts: Facts) -> float:
    """Weights, the summed gradient and AdamW's two moments."""
    return PROCESS_BYTES + 4 * (facts.model.num_parameters + 3 * trained_parameters(recipe, facts))


def trained_parameters(recipe: Recipe, facts: Facts) -> int:
    """How many weights are trained; a head's few are not counted."""
    whole = {"head": 0, "lora": lora_parameters(recipe, facts), "full": facts.model.num_parameters}
    return int(whole[recipe.adapter.type] * trained_share(recipe, facts))


def trained_share(recipe: Recipe, facts: Facts) -> float:
    """The share of the transformer blocks that are trained."""
    layers = recipe.adapter.num_layers
    return 1.0 if layers == "all" else min(1.0, layers / facts.model.num_layers)


def token_bytes(recipe: Recipe, facts: Facts) -> float:
    """What a token of a micro-batch adds while its gradient is taken; a frozen trunk keeps nothing."""
    trained = facts.model.num_layers * trained_share(recipe, facts)
    kept = 2 if recipe.adapter.type == "head" else max(2, trained * ACTIVATIONS_PER_LAYER)
    return 4.0 * kept * facts.model.hidden_size


def _room(recipe: Recipe, facts: Facts) -> float:
    return parse_memory(str(recipe.machine.memory)) - fixed_bytes(recipe, facts)


def _longest(recipe: Recipe, facts: Facts) -> int:
    return rows_each(recipe) * min(facts.data.longest_tokens, int(recipe.train.sequence_len))


def lora_parameters(recipe: Recipe, facts: Facts) -> int:
    """About as many as rank times the two sides of the seven linear layers of a block."""
    model = facts.model
    return recipe.adapter.lora_r * model.num_layers * 18 * model.hidden_size
