"""What DP-SGD guarantees: (ε, δ) from noise and draws, and the noise that a wanted ε takes, by opacus's accountant."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from luthier.errors import MissingExtra, RecipeError
from luthier.recipe.methods import learnt_beside, total_steps
from luthier.recipe.types import Recipe


@dataclass(frozen=True)
class Guarantee:
    """(ε, δ)-differential privacy of the weights after `steps` steps, with respect to adding or removing one row."""

    epsilon: float
    delta: float
    noise_multiplier: float
    """Standard deviation of the noise on the sum of gradients, over `max_grad_norm`."""
    sample_rate: float
    """The probability of each row at each step."""
    steps: int
    max_grad_norm: float
    """The most that one row can move the sum of gradients."""


def guarantee(recipe: Recipe, rows: int) -> Guarantee | None:
    """Of a resolved recipe on `rows` train rows; None where it asks for no privacy.

    By Rényi differential privacy of the subsampled Gaussian mechanism (Mironov et al. 2019, arXiv:1908.10530). Loads
    torch. Raises MissingExtra without opacus, RecipeError where δ is too large or ε out of reach.
    """
    asked = recipe.privacy
    if not asked.wanted:
        return None
    rows, steps = rows + learnt_beside(recipe, rows), total_steps(recipe, rows)
    rate = min(1.0, int(recipe.train.batch_size) / rows)
    if asked.target_delta >= 1 / rows:
        raise RecipeError(
            f"{asked.target_delta:g} is not below 1 / rows, which are {rows:,}: it would allow a row to be published",
            "privacy.target_delta", f"Write at most {0.1 / rows:.0e}",
        )  # fmt: skip
    delta, epsilon = asked.target_delta, asked.target_epsilon
    multiplier = float(asked.noise_multiplier or 0) if epsilon is None else _multiplier(epsilon, delta, rate, steps)
    epsilon = spent(multiplier, rate, steps, delta)
    return Guarantee(epsilon, delta, multiplier, rate, steps, recipe.train.max_grad_norm)


def spent(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    """ε after `steps` steps."""
    accountant = _opacus().RDPAccountant()
    accountant.history = [(noise_multiplier, sample_rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a tighter bound might exist
        return float(accountant.get_epsilon(delta))


def _multiplier(epsilon: float, delta: float, rate: float, steps: int) -> float:
    _opacus()
    from opacus.accountants.utils import get_noise_multiplier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return float(get_noise_multiplier(target_epsilon=epsilon, target_delta=delta, sample_rate=rate,
                                              steps=steps, accountant="rdp"))  # fmt: skip
        except ValueError as error:
            raise RecipeError(f"no noise reaches ε = {epsilon:g} at δ = {delta:g}", "privacy.target_epsilon",
                              "Write a larger ε, or train fewer steps") from error  # fmt: skip


def _opacus() -> Any:
    try:
        import opacus.accountants
    except ImportError as error:
        raise MissingExtra("`privacy` needs opacus's accountant", "privacy",
                           "Install it: pip install 'luthier[dp]'") from error  # fmt: skip
    return opacus.accountants
