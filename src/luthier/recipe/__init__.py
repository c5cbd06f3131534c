"""What a run is: typed recipes, read from YAML, checked, and resolved against facts."""

from luthier.recipe.auto import precision_of
from luthier.recipe.beside import BESIDE
from luthier.recipe.facts import DataFacts, Facts, Glimpse, MachineFacts, ModelFacts
from luthier.recipe.load import Loaded, from_mapping, load, resolve_paths
from luthier.recipe.methods import (
    HEADED,
    ON_POLICY,
    PAIRED,
    learnt_beside,
    rehearsed,
    replayed,
    rows_each,
    total_steps,
)
from luthier.recipe.overrides import parse_overrides
from luthier.recipe.plain import diff, dump_yaml, fingerprint
from luthier.recipe.processes import own_memory, sharing
from luthier.recipe.propose import propose
from luthier.recipe.reference import reference
from luthier.recipe.resolve import Reason, Resolved, default_name, resolve
from luthier.recipe.rules import MEASURED, check
from luthier.recipe.types import (
    Adapter,
    Curate,
    DataEntry,
    Evaluate,
    Machine,
    Objective,
    Privacy,
    Recipe,
    Ship,
    Splits,
    Train,
)
from luthier.recipe.units import format_memory, parse_memory, parse_time
from luthier.recipe.values import STORED

__all__ = [
    "Adapter",
    "BESIDE",
    "Curate",
    "DataEntry",
    "DataFacts",
    "Evaluate",
    "Facts",
    "Glimpse",
    "HEADED",
    "Loaded",
    "MEASURED",
    "Machine",
    "MachineFacts",
    "ModelFacts",
    "ON_POLICY",
    "Objective",
    "PAIRED",
    "Privacy",
    "Reason",
    "Recipe",
    "Resolved",
    "STORED",
    "Ship",
    "Splits",
    "Train",
    "check",
    "default_name",
    "diff",
    "dump_yaml",
    "fingerprint",
    "format_memory",
    "from_mapping",
    "learnt_beside",
    "load",
    "own_memory",
    "parse_memory",
    "parse_overrides",
    "parse_time",
    "precision_of",
    "propose",
    "reference",
    "rehearsed",
    "replayed",
    "resolve",
    "resolve_paths",
    "rows_each",
    "sharing",
    "total_steps",
]
