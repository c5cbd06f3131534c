"""Whether the transformer blocks below the first trained one are run once, their output kept, or at every step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from luthier.recipe.facts import Facts
from luthier.recipe.methods import ON_POLICY, learnt_beside, total_steps
from luthier.recipe.processes import divided
from luthier.recipe.types import Recipe
from luthier.recipe.units import parse_memory


@dataclass(frozen=True)
class Frozen:
    """The frozen blocks below the first trained one whose output is kept; 0 where it is not, and why."""

    blocks: int
    disk_bytes: int
    """Of the states of all rows before the first trained block."""
    why: str


def frozen(recipe: Recipe, facts: Facts) -> Frozen | None:
    """What becomes of the frozen blocks of a resolved recipe; None where there are none below a trained one."""
    layers = recipe.adapter.num_layers
    below = 0 if layers == "all" else facts.model.num_layers - layers
    if below < 1:
        return None
    size, times = state_bytes(recipe, facts), passes(recipe, facts)
    what, amount = f"the {below} frozen blocks below", f"{size / 1e9:.2g} GB"
    refusal = _refusal(recipe, facts, size, times)
    if refusal:
        return Frozen(0, size, f"{what} run at every step: {refusal}")
    if facts.states_kept:
        return Frozen(below, size, f"{what} have run: their output lies in the cache ({amount})")
    saved = f"once a row instead of {times:.3g} times"
    return Frozen(below, size, f"{what} run {saved}: their output takes {amount} of disk")


def passes(recipe: Recipe, facts: Facts) -> float:
    """How often an average training row is learnt."""
    rows = facts.data.rows["train"]
    steps = math.ceil(total_steps(recipe, rows) / recipe.objective.num_iterations)
    rows += learnt_beside(recipe, rows)
    return min(steps * int(recipe.train.batch_size) / rows, float(recipe.train.num_epochs))


def state_bytes(recipe: Recipe, facts: Facts) -> int:
    """Four bytes for each token and hidden dimension of what is learnt or validated on."""
    rows = facts.data.rows
    own = rows["train"] + learnt_beside(recipe, rows["train"]) + rows.get("validation", 0) + rows.get("beside", 0)
    return int(4 * facts.model.hidden_size * facts.data.mean_tokens * own)


def _refusal(recipe: Recipe, facts: Facts, size: int, times: float) -> str | None:
    room = parse_memory(str(recipe.machine.disk))
    if recipe.objective.type in ON_POLICY:
        return "the rows are sampled anew"
    if divided(recipe):
        return "no process holds all of the model"
    if not facts.model.enters:
        return "rows of this family are padded"
    if times <= 1 and not facts.states_kept:
        return "no row is learnt twice"
    if size > room:
        return f"their output would take {size / 1e9:.2g} GB of disk, above the {room / 1e9:.2g} GB of `machine.disk`"
    return None
