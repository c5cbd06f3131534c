"""How fast a fit computes, and how much the weights weigh that it computes with."""

from __future__ import annotations

from luthier.recipe.facts import Facts
from luthier.recipe.types import Recipe

EFFICIENCY = {"cpu": 0.55, "cuda": 0.35}
"""The share of the measured matrix-multiplication speed that a fit reaches."""
WEIGHT_BYTES = {"nf4": 0.516, "int8": 1.01}
"""Of a weight of a linear layer in fewer bits: half a byte, and one for the scale of every 64; a byte, and four for
that of a row."""


def operations_a_second(recipe: Recipe, facts: Facts) -> float:
    """Floating-point operations, of the numbers that the model computes in."""
    machine = facts.machine
    half = machine.half_gflops and recipe.number_bytes == 2
    return (machine.half_gflops if half else machine.gemm_gflops) * 1e9 * EFFICIENCY[machine.device]


def weights_bytes(recipe: Recipe, facts: Facts, teacher: int) -> float:
    """The base, and the `teacher` weights of a model beside it; where all weights are trained in sixteen bits, float32
    ones beside the rounded ones of a micro-batch."""
    model, number = facts.model, float(recipe.number_bytes)
    table = model.vocab_size * model.hidden_size
    held = 0.0 if recipe.machine.stream_base is True else WEIGHT_BYTES.get(recipe.number_format, number)
    masters = 4.0 * model.num_parameters if recipe.adapter.type == "full" and number < 4 else 0.0
    return number * (model.num_parameters + teacher) - (number - held) * (model.num_parameters - table) + masters
