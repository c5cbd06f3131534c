"""What a fit will take: floating-point operations, seconds, bytes, and the size of its micro-batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from luthier.engine.frozen import frozen
from luthier.engine.speed import operations_a_second, weights_bytes
from luthier.engine.trained_size import kept_by_block, layers_share, trained_parameters, trained_share
from luthier.recipe.facts import Facts
from luthier.recipe.methods import HEADED, ON_POLICY, learnt_beside, rows_each, total_steps
from luthier.recipe.processes import divided, own_memory, sharing
from luthier.recipe.types import Recipe

BEST_MICRO_BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}
"""Where speed stops growing with the micro-batch, and the cache begins to suffer."""
LEAN_MICRO_BATCH_TOKENS = 192
"""Those on a CPU where the base is held in fewer bits: hardly slower, and a quarter of the states."""
AGAIN = {False: 0.0, True: 1.0, "long": 0.5}
"""Forward passes more; of micro-batches that are long, half is a guess, which the probe corrects."""
LEAN = f"fewer bits are there to save memory: blocks of over {LEAN_MICRO_BATCH_TOKENS} tokens are computed again"
PROCESS_BYTES = 600e6
"""Python with torch and transformers loaded."""
HEAD_CHUNK_TOKENS, LEAN_HEAD_CHUNK_TOKENS = {"cpu": 256, "cuda": 1024}, 64
"""Targets that have logits at a time (`models.losses_fused`); the latter where the base is held in fewer bits, on a
CPU."""
HEAD_CHUNKS = {"classify": 0, "reward": 0, "distill": 8}
"""Chunks of logits (float32) of HEAD_CHUNK_TOKENS that a lane holds at once; 2 where an objective is not listed."""
PASSAGE_TOKENS = 256
"""General passages are not cut below this, however short the rows are."""
LANE_TOKENS = 128
"""Tokens of a step that make a lane worth having."""
SAMPLED_TOKENS = 16_384
"""`models.sample.MEMORY_TOKENS`, which this module does without, as it does without torch."""
DECODING = 2.0
"""How much longer a token takes to sample, among some thirty answers, than in a forward pass over a pack."""


@dataclass(frozen=True)
class Forecast:
    """Of the fit alone: steps, tokens of data, seconds, bytes at the peak (of all processes on a CPU, of each on GPUs),
    and the tokens of a micro-batch."""

    steps: int
    tokens: int
    seconds: float
    peak_memory_bytes: int
    micro_batch_tokens: int
    cost: float
    lanes: int
    """Micro-batches that a process works on side by side."""
    frozen_blocks: int = 0
    """Blocks below the first trained one whose output is computed once; 0 where all run at every step."""
    tokens_under_way: int | None = None
    """With how many tokens in all; None: with as many as they have."""
    before_seconds: float = 0.0
    """Of what is computed once before the first step."""
    job_seconds: float = 0.0
    """Of the whole job, with loading and the evaluation."""


def forecast(recipe: Recipe, facts: Facts) -> Forecast:
    """Of the steps alone, from counts of operations and the measured speed of the machine; `recipe` must be resolved.

    `whole_job` adds what happens before them, between them and after them.
    """
    recipe, _ = checkpointing(recipe, facts)
    rows = facts.data.rows["train"]
    steps = total_steps(recipe, rows)
    rows += learnt_beside(recipe, rows)
    taken = math.ceil(steps / recipe.objective.num_iterations) * int(recipe.train.batch_size)
    seen = min(taken, round(rows * float(recipe.train.num_epochs)))
    seen += round(seen * facts.data.rows.get("beside", 0) / facts.data.rows["train"])
    passes = 0.0 if recipe.adapter.type == "head" else seen / rows
    tokens = int(seen * recipe.objective.num_iterations * counted_tokens(recipe, facts))
    operations = passes * rows * row_operations(recipe, facts)
    below = frozen(recipe, facts)
    blocks = below.blocks if below is not None else 0
    operations -= passes * rows * frozen_operations(recipe, facts, blocks)
    seconds = operations / operations_a_second(recipe, facts)
    seconds /= 1 if facts.machine.device == "cpu" else int(recipe.machine.num_processes)
    budget = micro_batch_tokens(recipe, facts)
    side = lanes(recipe, facts)
    most = tokens_under_way(recipe, facts)
    working = side * lane_bytes(recipe, facts, max(budget, _least(recipe, facts)))
    if most is not None:
        working -= token_bytes(recipe, facts) * max(0, side * budget - most)
    peak = fixed_bytes(recipe, facts) + max(working, decoding_bytes(recipe, facts))
    peak *= sharing(recipe)
    cost = seconds / 3600 * recipe.machine.price_per_hour
    return Forecast(steps, tokens, seconds, int(peak), budget, cost, side, blocks, most)


def row_operations(recipe: Recipe, facts: Facts) -> float:
    """Floating-point operations for one average example: 2 a weight forward, as many for the gradient of the input, and
    as many again where the weights are trained. Where answers are sampled, all that is done with a prompt's."""
    settings = recipe.objective
    forwards = 1 + gradient_forwards(recipe, facts.model.num_layers)
    if settings.type in ON_POLICY:
        scored = (settings.type == "ppo" or settings.num_iterations > 1) + (settings.kl_coef > 0)
        forwards = DECODING + scored + settings.num_iterations * forwards
    own = forwards * forward_operations(recipe, facts)
    return own + 2 * _live_teacher(recipe, facts) * facts.data.mean_tokens


def operations_before(recipe: Recipe, facts: Facts) -> float:
    """Those for one average example before the first step: of the policy at step 0, or of a teacher whose words are
    kept."""
    if recipe.objective.type == "dpo":
        return forward_operations(recipe, facts)
    return (
        2.0 * facts.teacher.num_parameters * facts.data.mean_tokens if facts.teacher and recipe.objective.top_k else 0.0
    )


def gradient_forwards(recipe: Recipe, num_layers: int) -> float:
    """How many forward passes a gradient costs: one for that of the inputs, one more where all weights are trained, and
    one more where blocks are computed again."""
    again = AGAIN.get(recipe.train.gradient_checkpointing, 0.0)
    return ({"head": 0, "full": 2}.get(recipe.adapter.type, 1) + again) * layers_share(recipe, num_layers)


def forward_operations(recipe: Recipe, facts: Facts) -> float:
    """Those of a forward pass alone."""
    model = facts.model
    trunk = model.num_parameters - model.vocab_size * model.hidden_size
    head = 0 if recipe.objective.type in HEADED else model.vocab_size * model.hidden_size
    tokens, learnt = computed_tokens(recipe, facts)
    tokens *= facts.data.computed_share if model.kind == "decoder" else copies(recipe, facts)
    return 2 * (trunk * tokens + head * learnt)


def frozen_operations(recipe: Recipe, facts: Facts, blocks: int) -> float:
    """Those of a forward pass through the first so many transformer blocks."""
    model = facts.model
    trunk = model.num_parameters - model.vocab_size * model.hidden_size
    return 2 * trunk * blocks / model.num_layers * facts.data.mean_tokens


def computed_tokens(recipe: Recipe, facts: Facts) -> tuple[float, float]:
    """Tokens of an average row, and how many of them are predicted; of a prompt, with all its answers, each at its
    longest."""
    data = facts.data
    if recipe.objective.type not in ON_POLICY:
        return data.mean_tokens, data.mean_trained_tokens
    answers = recipe.objective.num_generations * int(recipe.evaluate.max_new_tokens)
    return data.mean_tokens - data.mean_trained_tokens + answers, answers


def counted_tokens(recipe: Recipe, facts: Facts) -> float:
    """Tokens of data in an average row; a prompt counts once for each of its answers."""
    tokens, learnt = computed_tokens(recipe, facts)
    sampled = recipe.objective.num_generations * (tokens - learnt) + learnt
    return sampled if recipe.objective.type in ON_POLICY else tokens


def micro_batch_tokens(recipe: Recipe, facts: Facts) -> int:
    """Tokens of a micro-batch: the fastest size, or what memory allows, but never less than the longest example, unless
    long ones are computed again: these are micro-batches of their own."""
    room = _room(recipe, facts) / lanes(recipe, facts) - lane_bytes(recipe, facts, 0)
    fits = int(room / token_bytes(recipe, facts))
    best = BEST_MICRO_BATCH_TOKENS[facts.machine.device]
    if recipe.number_format != "float32":
        best = min(best, LEAN_MICRO_BATCH_TOKENS) if facts.machine.device == "cpu" else best
    alone = recipe.train.gradient_checkpointing == "long" and not recipe.train.optimizer_in_backward
    return max(1 if alone else _least(recipe, facts), min(best, fits))


def checkpointing(recipe: Recipe, facts: Facts) -> tuple[Recipe, str | None]:
    """The recipe with `train.gradient_checkpointing` decided, and why where it was `auto`: on where a micro-batch of
    the longest row alone would not fit."""
    if recipe.train.gradient_checkpointing != "auto":
        return recipe, None
    off, on = (with_checkpointing(recipe, value) for value in (False, True))
    if _lean(recipe, facts) and recipe.adapter.type != "head":
        return with_checkpointing(recipe, "long"), LEAN
    longest, room = _least(recipe, facts), max(0.0, _room(off, facts)) / 1e9
    takes, less = (lane_bytes(each, facts, longest) / 1e9 for each in (off, on))
    whose = "all rows of a step" if recipe.train.optimizer_in_backward else "the longest row"
    what = f"{whose}, {longest:,} tokens, takes {takes:.2g} GB; machine.memory leaves {room:.2g} GB for it"
    if takes <= room or recipe.adapter.type == "head":
        return off, what
    return on, f"{what}, and {less:.2g} GB are enough where blocks are computed again"


def with_checkpointing(recipe: Recipe, how: bool | Literal["long"]) -> Recipe:
    """The recipe with `train.gradient_checkpointing` decided."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"gradient_checkpointing": how})})


def lanes(recipe: Recipe, facts: Facts) -> int:
    """Micro-batches side by side: one a core, if each has enough to do and memory allows.

    One where nothing but a head is trained, where dropout draws from the one random state, where weights are read from
    their files for each, and where steps are taken in the backward.
    """
    train = recipe.train
    alone = recipe.adapter.type == "head" or recipe.adapter.lora_dropout or train.optimizer_in_backward
    alone = alone or recipe.machine.stream_base is True
    if facts.machine.device != "cpu" or alone:
        return 1
    if divided(recipe):
        return 1
    count = int(recipe.machine.num_processes)
    fits = int(_room(recipe, facts) / lane_bytes(recipe, facts, _longest(recipe, facts)))
    rows, threads = -(-int(recipe.train.batch_size) // count), int(recipe.machine.threads) // count
    worth = rows * computed_tokens(recipe, facts)[0] / LANE_TOKENS
    return max(1, min(threads, rows, fits, int(worth)))


def tokens_under_way(recipe: Recipe, facts: Facts) -> int | None:
    """Where the base is held in fewer bits, a long row has no other micro-batch beside it."""
    if not _lean(recipe, facts) or recipe.train.gradient_checkpointing is not False:
        return None
    return max(_longest(recipe, facts), lanes(recipe, facts) * LEAN_MICRO_BATCH_TOKENS)


def lane_bytes(recipe: Recipe, facts: Facts, tokens: int) -> float:
    """A micro-batch under way, its gradient, and the buffer of the output head."""
    model = facts.model
    chunk = LEAN_HEAD_CHUNK_TOKENS if _lean(recipe, facts) else HEAD_CHUNK_TOKENS[facts.machine.device]
    head = HEAD_CHUNKS.get(recipe.objective.type, 2) * chunk * model.vocab_size
    tokens += recipe.adapter.virtual_tokens
    table = model.vocab_size * model.hidden_size  # the largest gradient that there is at a time
    gradient = table if recipe.train.optimizer_in_backward else trained_parameters(recipe, facts)
    return 4.0 * (gradient + head) + _micro_batch_bytes(recipe, facts, tokens)


def fixed_bytes(recipe: Recipe, facts: Facts) -> float:
    """Weights, the summed gradient unless it is used at once, AdamW's two moments, and where it is needed a copy of
    what is trained: what one process holds of them."""
    weights = weights_bytes(recipe, facts, _live_teacher(recipe, facts))
    moments = 8 if recipe.train.optimizer == "adamw" else 2
    trained = moments + 4 * (not recipe.train.optimizer_in_backward) + 4 * (recipe.objective.kl_coef > 0)
    held_bytes = weights + trained * trained_parameters(recipe, facts)
    return PROCESS_BYTES + held_bytes / (int(recipe.machine.num_processes) if divided(recipe) else 1)


def _live_teacher(recipe: Recipe, facts: Facts) -> int:
    """The weights of a teacher that reads every batch."""
    return facts.teacher.num_parameters if facts.teacher is not None and recipe.objective.top_k is None else 0


def decoding_bytes(recipe: Recipe, facts: Facts) -> float:
    """At most: the keys and values of all answers that are sampled at a time."""
    if recipe.objective.type not in ON_POLICY:
        return 0.0
    answers = int(recipe.train.batch_size) * recipe.objective.num_generations
    held = min(answers * _longest(recipe, facts), lanes(recipe, facts) * SAMPLED_TOKENS)
    return 2.0 * recipe.number_bytes * held * facts.model.num_layers * facts.model.hidden_size


def token_bytes(recipe: Recipe, facts: Facts) -> float:
    """What a token of a micro-batch adds while its gradient is taken; a frozen trunk keeps nothing."""
    trained = facts.model.num_layers * trained_share(recipe, facts)
    kept = 2 if recipe.adapter.type == "head" else max(2, trained * kept_by_block(recipe, facts))
    if recipe.train.gradient_checkpointing is True:
        kept = kept_by_block(recipe, facts) + (0 if recipe.train.activation_offloading else trained)
    return float(recipe.number_bytes) * kept * facts.model.hidden_size * copies(recipe, facts)


def copies(recipe: Recipe, facts: Facts) -> float:
    """Tokens of an encoder's pack for each token of data: its rows have virtual tokens of their own."""
    own = recipe.adapter.virtual_tokens if facts.model.kind == "encoder" else 0
    return 1 + own / facts.data.mean_tokens


def _lean(recipe: Recipe, facts: Facts) -> bool:
    return facts.machine.device == "cpu" and recipe.number_format != "float32"


def _room(recipe: Recipe, facts: Facts) -> float:
    return own_memory(recipe) - fixed_bytes(recipe, facts)


def _micro_batch_bytes(recipe: Recipe, facts: Facts, tokens: float) -> float:
    """What so many tokens of a micro-batch keep; where only long ones are computed again, the more of both kinds."""
    if recipe.train.gradient_checkpointing != "long":
        return tokens * token_bytes(recipe, facts)
    whole, again = (token_bytes(with_checkpointing(recipe, how), facts) for how in (False, True))
    return max(min(tokens, LEAN_MICRO_BATCH_TOKENS) * whole, tokens * again)


def _longest(recipe: Recipe, facts: Facts) -> int:
    sampled = int(recipe.evaluate.max_new_tokens) if recipe.objective.type in ON_POLICY else 0
    return rows_each(recipe) * min(facts.data.longest_tokens, int(recipe.train.sequence_len)) + sampled


def _least(recipe: Recipe, facts: Facts) -> int:
    """What a micro-batch must hold: the longest example, or all of a step whose gradient is used as it arrives."""
    if not recipe.train.optimizer_in_backward:
        return _longest(recipe, facts)
    return int(recipe.train.batch_size) * max(_longest(recipe, facts), PASSAGE_TOKENS)
