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

ASKED = {
    "explanation": "Explain something about nature, science or history.",
    "howto": "Tell me how something is done.",
    "story": "Begin a story.",
    "news": "Write a short piece of local news.",
    "argument": "Give me your opinion on something.",
    "mathematics": "Show me a problem and how it is solved.",
    "code": "Write a short piece of code.",
    "letter": "Write a letter or a review.",
    "conversation": "Write down a short conversation.",
}
"""Kind of passage → the request that it answers in a chat."""


def load(count: int) -> list[Example]:
    """`count` different passages in a fixed order that mixes the kinds; all of them where there are fewer."""
    return [Example(row_id, text=text) for row_id, _, text in _passages(count)]


def load_chats(count: int) -> list[Example]:
    """The same passages, each as the answer to a request."""
    return [
        Example(row_id, messages=({"role": "user", "content": ASKED[kind]}, {"role": "assistant", "content": text}))
        for row_id, kind, text in _passages(count)
    ]


def _passages(count: int) -> list[tuple[str, str, str]]:
    lines = files(__name__).joinpath("passages.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [(f"rehearsal:{number}", json.loads(line)) for number, line in enumerate(lines, 1)]
    order = np.random.default_rng(0).permutation(len(rows))[:count]
    return [(rows[i][0], rows[i][1]["kind"], rows[i][1]["text"]) for i in order]
