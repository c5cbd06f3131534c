"""What every engine promises, on a tiny model, beside transformers and PEFT.

The engines stand in `cases.py`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from cases import ADAPTERS, CASES, LONGEST, Case, Reference, write_adapters
from listening import Heard, hear
from tokenizers import Tokenizer

from luthier.errors import ModelError
from luthier.serve.engines.engine import Ask, Engine

CONTEXT = 512
ANY = 18
"""An id that a text may have anywhere."""


@pytest.fixture(scope="module")
def folders(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_adapters(tiny_llama, tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def engine(case: Case, tiny_llama: Path, folders, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = case.open(tiny_llama, folders, tmp_path_factory.mktemp("engine"))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    """Of different length; the last two begin alike."""
    draw = np.random.default_rng(0)
    rows = [draw.integers(3, 300, length).tolist() for length in (5, 21, 9, 1, 30)]
    return [*rows, [*rows[4][:25], 7, 8]]


@pytest.fixture(scope="module")
def reference(tiny_llama: Path, folders: dict[str, Path]) -> Reference:
    return Reference(tiny_llama, folders)


def ask(prompt: Sequence[int], longest: int = LONGEST, temperature: float = 0.0, **settings: Any) -> Ask:
    return Ask("", prompt, longest, temperature=temperature, **settings)


def one(engine: Engine, prompt: Sequence[int], longest: int = LONGEST, **settings: Any) -> Heard:
    return hear(engine, [ask(prompt, longest, **settings)])[0]


def test_greedy_answers_are_those_of_transformers(engine: Engine, reference: Reference, prompts) -> None:
    expected = [reference.greedy(prompt) for prompt in prompts]
    assert [answer.ids for answer in hear(engine, [ask(prompt) for prompt in prompts])] == expected
    assert [one(engine, prompt).ids for prompt in prompts] == expected
    assert len({tuple(ids) for ids in expected}) > 3


def test_adapters_of_one_batch_answer_as_each_alone(engine: Engine, reference: Reference, prompts) -> None:
    names = [None, "tickets", "jokes"]
    asks = [ask(prompt, adapter=name) for prompt in prompts[2:5] for name in names]
    expected = [reference.greedy(one.prompt, one.adapter) for one in asks]
    assert [answer.ids for answer in hear(engine, asks)] == expected
    assert [hear(engine, [single])[0].ids for single in asks] == expected
    assert len({tuple(ids) for ids in expected[:3]}) == 3


def test_rows_join_and_leave_at_any_time(engine: Engine, reference: Reference, prompts) -> None:
    longest = [3, 40, 1, 90, 12, 7]
    expected = [reference.greedy(prompt, longest=n) for prompt, n in zip(prompts, longest, strict=True)]
    later: list[Heard] = []
    late = [ask(prompt, n) for prompt, n in zip(prompts, longest, strict=True)]

    def more(piece: Any) -> None:
        if late:
            later.append(Heard(more))
            engine.start(Ask(**{**vars(late.pop(0)), "id": f"late {len(late)}"}), later[-1])

    first = Heard(more)
    engine.start(Ask("first", prompts[0], 100, temperature=0.0), first)
    assert first.wait().ids == reference.greedy(prompts[0], longest=100)
    assert [answer.wait().ids for answer in later] == expected


def test_a_stop_id_ends_an_answer_and_is_not_part_of_it(engine: Engine, reference: Reference, prompts) -> None:
    expected = reference.greedy(prompts[1])
    stop = next(id for place, id in enumerate(expected) if place > 1 and id not in expected[:place])
    answer = one(engine, prompts[1], stop_ids=(stop, 399))
    assert (answer.ids, answer.finish) == (expected[: expected.index(stop)], "stop")
    assert one(engine, prompts[1]).finish == "length"


def test_the_last_piece_comes_once(engine: Engine, prompts) -> None:
    for answer in hear(engine, [ask(prompt) for prompt in prompts]):
        assert [piece.finish is None for piece in answer.pieces] == [True] * (len(answer.pieces) - 1) + [False]


def test_an_answer_ends_with_the_context(engine: Engine) -> None:
    answer = one(engine, [5] * (CONTEXT - 3), 100)
    assert (len(answer.ids), answer.finish) == (3, "length")


def test_a_seed_gives_the_same_answer_alone_and_in_company(engine: Engine, prompts) -> None:
    def drawn(seed: int) -> Ask:
        return ask(prompts[0], 20, temperature=1.0, seed=seed)

    alone = hear(engine, [drawn(3)])[0].ids
    among = hear(engine, [ask(prompts[1], 9, temperature=1.0), drawn(4), drawn(3), ask(prompts[4], 30), drawn(3)])
    assert [answer.ids == alone for answer in among] == [False, False, True, False, True]
    unseeded = hear(engine, [ask(prompts[0], 20, temperature=1.0) for _ in range(3)])
    assert len({tuple(answer.ids) for answer in unseeded}) == 3


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.4)])
def test_tokens_are_drawn_as_often_as_they_are_likely(
    engine: Engine, reference: Reference, prompts, temperature: float, top_p: float
) -> None:
    count = 400
    asks = [ask(prompts[0], 1, temperature=temperature, top_p=top_p, seed=seed) for seed in range(count)]
    found = Counter(answer.ids[0] for answer in hear(engine, asks))
    probs = torch.softmax(reference.logits(prompts[0])[-1] / temperature, 0)
    order = probs.argsort(descending=True)
    kept = order[: int((probs[order].cumsum(0) < top_p).sum()) + 1]
    expected = torch.zeros_like(probs).index_copy(0, kept, probs[kept] / probs[kept].sum())
    assert all(expected[id] > 0 for id in found)
    for id in order[:5].tolist():
        p = float(expected[id])
        assert abs(found[id] / count - p) <= 4.5 * (p * (1 - p) / count) ** 0.5 + 1e-9


def test_logprobs_are_those_of_the_model(engine: Engine, reference: Reference, prompts, case: Case) -> None:
    settings = {"temperature": 0.7, "top_p": 0.9, "bias": {ANY: 3.0}, "presence": 1.0, "seed": 1}
    asks = [ask(prompts[k], top_logprobs=n, adapter=name, **settings) for k, n, name in  # type: ignore[arg-type]
            ((0, 3, None), (1, 0, "tickets"), (4, 1, "jokes"))]  # fmt: skip
    for made, answer in zip(asks, hear(engine, asks), strict=True):
        logits = reference.logits([*made.prompt, *answer.ids], made.adapter)[len(made.prompt) - 1 : -1]
        for logprobs, token in zip(torch.log_softmax(logits, 1), answer.tokens, strict=True):
            assert token.logprob == pytest.approx(float(logprobs[token.id]), abs=case.tolerance)
            best = logprobs.topk(made.top_logprobs or 0)
            assert [id for id, _ in token.top] == best.indices.tolist()
            assert [value for _, value in token.top] == pytest.approx(best.values.tolist(), abs=case.tolerance)
    assert all(token.logprob is None and not token.top for token in one(engine, prompts[0]).tokens)


def test_a_bias_moves_one_token(engine: Engine, reference: Reference, prompts) -> None:
    assert one(engine, prompts[0], bias={ANY: 100.0}).ids == [ANY] * LONGEST
    usual = reference.greedy(prompts[0])
    without = one(engine, prompts[0], bias=dict.fromkeys(usual, -100.0)).ids
    assert not set(without) & set(usual)


@pytest.mark.parametrize("settings", [{"presence": 1.5}, {"frequency": 0.7}, {"presence": 0.5, "frequency": -0.4}])
def test_penalties_are_those_of_openai(engine: Engine, reference: Reference, prompts, settings) -> None:
    for prompt in prompts:
        expected: list[int] = []
        for _ in range(LONGEST):
            logits = reference.logits([*prompt, *expected])[-1]
            for id, times in Counter(expected).items():
                logits[id] -= settings.get("presence", 0.0) + settings.get("frequency", 0.0) * times
            expected.append(int(logits.argmax()))
        assert one(engine, prompt, **settings).ids == expected


def test_what_cannot_be_answered_says_why(engine: Engine, prompts) -> None:
    wrong = {
        "no adapter 'poems'": ask(prompts[0], adapter="poems"),
        "512 tokens": ask([5] * CONTEXT),
        "0 tokens": ask([]),
        "nonsense": ask(prompts[0], schema={"type": "nonsense"}),
    }
    for (said, made), answer in zip(wrong.items(), hear(engine, list(wrong.values())), strict=True):
        assert answer.finish == "error", made
        assert len(answer.pieces) == 1
        assert said in answer.pieces[0].error
    assert len(one(engine, prompts[0]).ids) == LONGEST


SCHEMAS: dict[str, dict[str, Any]] = {
    "object": {
        "type": "object",
        "properties": {
            "label": {"enum": ["refund", "delivery"]},
            "urgent": {"type": "boolean"},
            "note": {"type": "string", "maxLength": 5},
        },
        "required": ["label", "urgent", "note"],
        "additionalProperties": False,
    },
    "array": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "minItems": 1, "maxItems": 3},
    "choice": {"anyOf": [{"type": "boolean"}, {"enum": ["yes", "no"]}]},
}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_text_satisfies_a_schema(engine: Engine, tiny_llama: Path, prompts, temperature: float) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_llama / "tokenizer.json"))
    asks = [
        ask(prompt, 80, temperature=temperature, seed=1, schema=schema, stop_ids=(2,), adapter=name)
        for schema in SCHEMAS.values()
        for prompt, name in zip(prompts[:3], (None, "tickets", None), strict=True)
    ]
    for made, answer in zip(asks, hear(engine, asks), strict=True):
        assert answer.finish == "stop"
        jsonschema.validate(json.loads(tokenizer.decode(answer.ids)), made.schema)
    asked = [ask(prompts[0], 60, temperature=temperature, schema={}, seed=seed, stop_ids=(2,)) for seed in range(6)]
    whole = [answer for answer in hear(engine, asked) if answer.finish == "stop"]
    assert all(json.loads(tokenizer.decode(answer.ids)) is not Ellipsis for answer in whole)


def test_an_answer_is_cancelled(engine: Engine, reference: Reference, prompts) -> None:
    stopped = Heard(lambda piece: engine.cancel("stopped"))
    engine.start(Ask("stopped", prompts[0], 400, temperature=0.0), stopped)
    beside = one(engine, prompts[1], 30)
    assert stopped.wait().finish == "cancelled"
    assert 0 < len(stopped.ids) < 400
    assert stopped.ids == reference.greedy(prompts[0], longest=len(stopped.ids))
    assert beside.ids == reference.greedy(prompts[1], longest=30)
    engine.cancel("stopped")
    engine.cancel("never heard of")
    assert one(engine, prompts[1]).finish == "length"
    assert sum(piece.finish is not None for piece in stopped.pieces) == 1


def test_adapters_come_while_answers_are_written(
    case: Case, tiny_llama: Path, folders: dict[str, Path], reference: Reference, prompts, tmp_path: Path
) -> None:
    engine = case.open(tiny_llama, {}, tmp_path)
    try:
        seeded = Ask("seeded", prompts[2], 200, temperature=1.0, seed=5)
        alone = hear(engine, [seeded])[0].ids
        under_way, drawn = Heard(), Heard()
        engine.start(Ask("long", prompts[0], 200, temperature=0.0), under_way)
        engine.start(seeded, drawn)
        assert one(engine, prompts[1], adapter="tickets").finish == "error"
        engine.load("tickets", folders["tickets"])
        engine.load("tickets", folders["tickets"])
        engine.load("jokes", folders["jokes"])
        for name in ADAPTERS:
            assert one(engine, prompts[1], adapter=name).ids == reference.greedy(prompts[1], name)
        assert under_way.wait().ids == reference.greedy(prompts[0], longest=200)
        assert drawn.wait().ids == alone
        with pytest.raises(ModelError):
            engine.load("gone", tmp_path / "gone")
        assert one(engine, prompts[1]).ids == reference.greedy(prompts[1])
    finally:
        engine.close()


def test_a_model_that_writes_embeds_nothing(engine: Engine, prompts) -> None:
    with pytest.raises(ModelError, match="writes text"):
        engine.embed(prompts)


def test_closing_ends_all_answers(case: Case, tiny_llama: Path, prompts, tmp_path: Path) -> None:
    engine = case.open(tiny_llama, {}, tmp_path)
    heard = [Heard() for _ in prompts]
    for number, (prompt, on_piece) in enumerate(zip(prompts, heard, strict=True)):
        engine.start(Ask(str(number), prompt, 450, temperature=0.0), on_piece)
    engine.close()
    assert {answer.wait().finish for answer in heard} == {"cancelled"}
    assert all(sum(piece.finish is not None for piece in answer.pieces) == 1 for answer in heard)
    late = Heard()
    engine.start(ask(prompts[0]), late)
    assert late.wait().finish == "error"
    engine.close()
