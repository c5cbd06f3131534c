"""General text that is learnt beside the task, so that what the base model could do is not lost.

`passages.jsonl` holds short passages of many kinds, written for this package. Rehearsing a few of them is enough
(Scialom et al. 2022, arXiv:2205.12393; Ibrahim et al. 2024, arXiv:2403.08763). They have nothing in common with the
passages by which forgetting is measured.
"""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np

from luthier.data.example import Example


def load(count: int) -> list[Example]:
    """`count` different passages in a fixed order that mixes the kinds; all of them where there are fewer."""
    lines = files(__name__).joinpath("passages.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [Example(f"rehearsal:{number}", text=json.loads(line)["text"]) for number, line in enumerate(lines, 1)]
    return [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:count]]
