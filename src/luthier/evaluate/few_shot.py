"""Examples in the prompt: the most similar training rows of each test row, as earlier turns of the conversation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from luthier.data.example import Example
from luthier.evaluate.questions import asked, reference_labels
from luthier.evaluate.tfidf import features

BLOCK_ROWS = 512


def similar(train: Sequence[Example], tests: Sequence[Example], shots: int) -> list[list[Example]]:
    """For each test row its `shots` most similar training rows by TF-IDF cosine, the most similar last.

    A training row that asks the same question is never among them, as it would give the answer away, nor is one
    without an answer. Of equally similar rows the earlier ones are taken. Fewer where there are fewer.
    """
    import numpy as np

    usable = [row for row in train if reference_labels(row) is not None and asked(row).strip()]
    if not usable:
        return [[] for _ in tests]
    known, wanted = features([asked(row) for row in usable], [asked(row) for row in tests])
    same_question = defaultdict(list)
    for i, row in enumerate(usable):
        same_question[row.input_id].append(i)
    chosen = []
    for i, test in enumerate(tests):
        if i % BLOCK_ROWS == 0:
            cosines_BN = (wanted[i : i + BLOCK_ROWS] @ known.T).toarray()
        cosines_N = cosines_BN[i % BLOCK_ROWS]
        cosines_N[same_question[test.input_id]] = -np.inf
        chosen.append([usable[k] for k in reversed(_largest(cosines_N, shots))])
    return chosen


def with_shots(example: Example, shots: Sequence[Example], system: str | None = None) -> list[dict[str, Any]]:
    """The messages that ask `example` after showing `shots`: system, then the shots' turns, then the question.

    The system message is the example's own, else `system`; those of the shots are left out.
    """
    asking = _turns(example.question())
    own = [turn for turn in asking if turn["role"] == "system"]
    opening = own or ([{"role": "system", "content": system}] if system is not None else [])
    shown = [turn for shot in shots for turn in _answered(shot)]
    return [*opening, *(turn for turn in [*shown, *asking] if turn["role"] != "system")]


def _answered(shot: Example) -> list[dict[str, Any]]:
    """A training row as a conversation that ends with its answer."""
    if shot.messages is not None:
        return [dict(turn) for turn in shot.messages]
    answer = ", ".join(shot.labels) if shot.labels is not None else shot.answer()
    return [*_turns(shot.question()), {"role": "assistant", "content": answer}]


def _turns(question: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}] if isinstance(question, str) else question


def _largest(values: Any, count: int) -> list[int]:
    """The indices of the `count` largest finite values, largest first, the earlier of equals first."""
    import numpy as np

    candidates = np.flatnonzero(np.isfinite(values))
    if len(candidates) > count:
        smallest = np.partition(values[candidates], -count)[-count]
        candidates = candidates[values[candidates] >= smallest]
    return sorted(candidates.tolist(), key=lambda i: (-values[i], i))[:count]
