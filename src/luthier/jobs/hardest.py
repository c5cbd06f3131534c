"""The loss of each training row when it was last learnt: broken rows and wrong labels gather at the top."""

from __future__ import annotations

from typing import Any

from luthier.data.example import Example
from luthier.engine.report import Report
from luthier.evaluate.questions import asked
from luthier.jobs.workbench import Work
from luthier.models.policy import Policy
from luthier.recipe import rows_each
from luthier.store.files import read_json, write_json

FILE = "losses.json"
SHOWN = 10


class RowLosses:
    """A hook that keeps each row's loss in `losses.json` of a run: nats per trained token, or of
    the label or the pair.

    Written every `every` steps and by `write`; a process that goes on with the run goes on with the file.
    """

    def __init__(self, work: Work, every: int) -> None:
        self.path, self.every = work.folder / FILE, every
        self.rendered, self.each = work.rendered["train"], rows_each(work.recipe)
        self.by_token = work.recipe.objective.type in ("sft", "pretrain")
        self.losses: dict[str, float] = read_json(self.path) if self.path.exists() else {}

    def __call__(self, report: Report, policy: Policy) -> None:
        for number, loss in report.losses:
            if number < len(self.rendered) and number % self.each == 0:
                units = float(self.rendered.row(number)[1].sum()) if self.by_token else 1.0
                self.losses[str(number // self.each)] = loss / units
        if report.step % self.every == 0:
            self.write()

    def write(self) -> None:
        """Put the losses so far into the file."""
        write_json(self.path, self.losses)


def hardest(work: Work) -> list[dict[str, Any]]:
    """The rows with the largest losses: `row_id`, `loss`, `question`, `answer`."""
    losses = read_json(work.folder / FILE)
    ranked = sorted(losses, key=lambda number: -losses[number])[:SHOWN]
    return [_described(work.rows["train"][int(number)], losses[number]) for number in ranked]


def _described(row: Example, loss: float) -> dict[str, Any]:
    answer = row.label if row.label is not None else ", ".join(row.labels) if row.labels is not None else row.answer()
    return {"row_id": row.row_id, "loss": loss, "question": asked(row), "answer": answer or ""}
