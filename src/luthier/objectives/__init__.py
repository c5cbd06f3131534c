"""How a batch is scored: one function each, in one TABLE."""

from luthier.objectives.scored import Objective, Scored
from luthier.objectives.table import TABLE

__all__ = ["TABLE", "Objective", "Scored"]
