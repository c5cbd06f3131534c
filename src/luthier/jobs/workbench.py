"""What a run works with. Loads no torch before a policy is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.data.example import Example
from luthier.data.rendered import Rendered
from luthier.jobs.reporting import Stages
from luthier.jobs.workspace import RunPlan
from luthier.models.locate import ModelFiles
from luthier.recipe import Recipe
from luthier.store import Home

if TYPE_CHECKING:
    from luthier.models.policy import Policy

Split = str


@dataclass(frozen=True)
class Work:
    """What a run works with: its plan, folder, base model, rows and token ids by split."""

    home: Home
    plan: RunPlan
    recipe: Recipe
    folder: Path
    files: ModelFiles
    rows: dict[Split, list[Example]]
    rendered: dict[Split, Rendered]
    stages: Stages

    @property
    def device(self) -> str:
        """Where models live."""
        return self.recipe.machine.device

    @property
    def context_length(self) -> int:
        """The most tokens of one row that the tuned model reads."""
        return self.files.context_length - self.recipe.adapter.virtual_tokens

    def tuned(self) -> Policy:
        """The policy that the run has trained."""
        from luthier.models.load import load_policy

        return load_policy(self.files, self.folder / "adapter", self.device)
