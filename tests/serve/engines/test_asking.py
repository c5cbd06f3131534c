"""Many answers at once, and what an engine thinks of texts that are given, for every engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, Case
from policies import files_of

from luthier.errors import ModelError
from luthier.models.load import load_base
from luthier.models.score import likeliest
from luthier.serve.agreement import agreement
from luthier.serve.engines.asking import all_answers, forced, restricted
from luthier.serve.engines.engine import Ask, Engine


class Texts:
    """Rows of drawn ids, of which all but the first count."""

    def __init__(self, rows: int) -> None:
        draw = np.random.default_rng(1)
        self.ids = [draw.integers(3, 390, 6 + 5 * n).astype(np.int32) for n in range(rows)]

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.ids])

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, index: int, /) -> tuple[np.ndarray, np.ndarray]:
        return self.ids[index], np.array([0.0, *np.ones(len(self.ids[index]) - 1)], np.float32)


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def engine(case: Case, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = case.open(tiny_llama, {}, tmp_path_factory.mktemp("engine"))
    yield engine
    engine.close()


def test_an_engine_thinks_of_a_text_what_the_model_does(engine: Engine, case: Case, tiny_llama: Path) -> None:
    texts, policy = Texts(3), load_base(files_of(tiny_llama))
    expected = [likeliest(policy, texts, number) for number in range(3)]
    rows = [(ids.tolist(), range(1, len(ids))) for ids in texts.ids]
    for ours, theirs in zip(forced(engine, rows), expected, strict=True):
        assert [id for id, _ in ours] == [id for id, _ in theirs]
        assert [value for _, value in ours] == pytest.approx([value for _, value in theirs], abs=case.tolerance)
    found = agreement(engine, rows, expected)
    assert (found.share, found.places, found.ok) == (1.0, 5 + 10 + 15, True)
    assert found.difference < case.tolerance


def test_another_model_does_not_agree(engine: Engine, tiny_llama: Path) -> None:
    texts, policy = Texts(3), load_base(files_of(tiny_llama))
    wrong = [[(id + 1, value - 0.5) for id, value in likeliest(policy, texts, number)] for number in range(3)]
    found = agreement(engine, [(ids.tolist(), range(1, len(ids))) for ids in texts.ids], wrong)
    assert (found.share, found.ok) == (0.0, False)
    assert found.difference == pytest.approx(0.5, abs=0.01)


def test_only_what_is_allowed_is_written(engine: Engine) -> None:
    choices = [[40, 41, 42], [50, 60, 42], [50, 61]]

    def allowed(written: list[int]) -> list[int]:
        fitting = [choice for choice in choices if choice[: len(written)] == written]
        return sorted({[*choice, 2][len(written)] for choice in fitting})

    assert restricted(engine, [5, 9, 17], allowed, 10, (2,)) in choices
    assert restricted(engine, [5, 9, 17], allowed, 2, (2,)) in [choice[:2] for choice in choices]


def test_an_answer_that_cannot_be_given_is_an_error(engine: Engine) -> None:
    with pytest.raises(ModelError, match="poems"):
        all_answers(engine, [Ask("", [5], 2), Ask("", [5], 2, adapter="poems")])
