"""From conversations to token ids, the first time and again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness.case import Case, Inputs, Side, Task
from harness.cases.recipe import model
from harness.cases.sft import ENTRY, MODEL
from harness.count import Amount
from harness.rows import digest
from luthier.data.render import Renderer
from luthier.data.sources import read
from luthier.recipe import DataEntry


def prepare(inputs: Inputs, again: bool) -> Callable[[Side], Task]:
    """All rows of dolly as conversations; what they must become is what Luthier makes of them."""
    files, _ = model(MODEL, inputs.cache)
    path = inputs.data / "dolly_en" / "train.jsonl"
    examples = read(DataEntry(path=str(path.resolve()), **ENTRY), Path.cwd()).examples
    rendered = Renderer.from_folder(files.folder).rows(examples, sequence_len=None)
    chats = [
        [{"role": "user", "content": examples[i].prompt}, {"role": "assistant", "content": examples[i].completion}]
        for i in rendered.kept
    ]
    job = {"model": str(files.folder), "scratch": str(inputs.scratch), "again": again, "chats": chats}
    work = Amount(len(chats), int(rendered.lengths.sum()), 0, 0.0)
    seen = digest((rendered.row(i)[0], []) for i in range(len(rendered)))
    return lambda side: Task(job, work, seen)


OURS = Side("Luthier", "luthier_render.py", 0, environment="luthier")
CASES = (
    Case("render", "Rendering: conversations of dolly to token ids", "rows", (
        OURS,
        Side("transformers, one by one", "hf_render.py", 0, {"how": "one"}),
        Side("transformers, all at once", "hf_render.py", 0, {"how": "all"}),
        Side("tokenizers, of texts that are written", "hf_render.py", 0, {"how": "texts"}),
        Side("datasets.map of it", "hf_render.py", 0, {"how": "map"}),
    ), partial(prepare, again=False),
        remark="Luthier also finds which tokens are answers, and checks each row; the others make ids alone."),
    Case("render-again", "Rendering: the same rows again, from the cache", "rows", (
        OURS,
        Side("datasets.map from its cache", "hf_render.py", 0, {"how": "map"}),
    ), partial(prepare, again=True)),
)  # fmt: skip
