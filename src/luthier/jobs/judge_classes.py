"""Answers to classification rows: by the trained head, by label names, by neighbours, or by word counts."""

from __future__ import annotations

import numpy as np

from luthier.data.example import Example
from luthier.data.stream import packed, precomputed
from luthier.evaluate.classic import NotApplicable
from luthier.evaluate.scores import Answer
from luthier.evaluate.solvers import by_head, by_label_name, by_neighbours
from luthier.jobs.feeds.classes import label_columns
from luthier.jobs.prepare import renderer_of
from luthier.jobs.rows import Rendering, render_split
from luthier.jobs.workbench import Work
from luthier.models.features import features
from luthier.models.load import load_base
from luthier.models.policy import Policy


def class_answers(work: Work, name: str, tests: list[Example]) -> list[Answer] | NotApplicable:
    """What one solver says about rows that have labels.

    `base` is the untrained model: the label whose name is most similar to the row. `few_shot` is its nearest
    training rows. Neither is defined where a row can have several labels.
    """
    if name == "tuned":
        return _tuned(work, tests)
    if work.plan.multi_label:
        return NotApplicable("similarity picks one label, and these rows can have several")
    policy = load_base(work.files, work.device)
    rows = _features(work, policy, tests)
    if name == "base":
        readable = [label.replace("_", " ") for label in work.plan.labels]
        names = _features(work, policy, [Example(row_id=f"label:{text}", text=text) for text in readable])
        return by_label_name(rows, names, work.plan.labels)
    known = _features(work, policy, work.rows["train"])
    return by_neighbours(rows, known, [str(row.label) for row in work.rows["train"]], work.recipe.evaluate.shots)


def _tuned(work: Work, tests: list[Example]) -> list[Answer]:
    policy = work.tuned()
    rendered = render_split(renderer_of(work.files, work.recipe), tests, work.home.cache("rendered"), _rendering(work),
                            work.stages.note)  # fmt: skip
    columns = label_columns(tests, work.recipe, work.plan.labels, work.plan.multi_label)
    make = packed(rendered, int(work.plan.forecast["micro_batch_tokens"]), columns)
    if work.recipe.adapter.type == "head":
        make = precomputed(rendered.lengths, columns | {"features": _features(work, policy, tests)})
    return by_head(policy, make, len(tests), work.plan.multi_label)


def _features(work: Work, policy: Policy, rows: list[Example]) -> np.ndarray:
    rendered = render_split(renderer_of(work.files, work.recipe), rows, work.home.cache("rendered"), _rendering(work),
                            work.stages.note)  # fmt: skip
    with work.stages.stage("features") as progress:
        key = f"{work.files.weights_key} {policy.pooling}"
        return features(policy, rendered, key, work.home.cache("features"), progress)


def _rendering(work: Work) -> Rendering:
    train = work.recipe.train
    return Rendering(int(train.sequence_len), train.truncation, train.train_on, "classify")
