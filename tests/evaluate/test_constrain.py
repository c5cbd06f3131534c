"""Decoding within a closed set: only its answers can come out, and each of them can."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from luthier.data.example import Example
from luthier.data.render import Renderer
from luthier.errors import DataError
from luthier.evaluate import constrain
from luthier.evaluate.answer_space import AnswerSpace, answer_space
from luthier.evaluate.constrain import AllowedTokens

EOS = 1_000_000


def characters(text: str) -> list[int]:
    return [ord(character) for character in text]


def labels(*options: str) -> AnswerSpace:
    return AnswerSpace("labels", options)


def json_space(*sizes: int) -> AnswerSpace:
    fields = [[f"{'xyzuvw'[f]}{i}" for i in range(size)] for f, size in enumerate(sizes)]
    answers = [json.dumps({f"f{i}": v for i, v in enumerate(values)}) for values in product(*fields)]
    return answer_space([Example(f"r:{i}", prompt="q", completion=a) for i, a in enumerate(answers * 2)])


def walk(tokens: AllowedTokens, choose: random.Random) -> list[int]:
    generated: list[int] = []
    while (token := choose.choice(tokens.allowed(generated))) != EOS:
        generated.append(token)
    return generated


def everything(tokens: AllowedTokens, generated: tuple[int, ...] = ()) -> Iterator[str]:
    for token in tokens.allowed(generated):
        if token == EOS:
            yield "".join(map(chr, generated))
        else:
            yield from everything(tokens, (*generated, token))


def test_a_label_is_spelled_out() -> None:
    tokens = AllowedTokens(labels("cat", "car", "dog"), characters, [EOS])
    assert tokens.allowed([]) == characters("cd")
    assert tokens.allowed(characters("ca")) == characters("rt")
    assert tokens.allowed(characters("dog")) == [EOS]


def test_a_label_that_begins_another() -> None:
    tokens = AllowedTokens(labels("card", "card lost"), characters, [EOS, EOS + 1])
    assert tokens.allowed(characters("card")) == [ord(" "), EOS, EOS + 1]


def test_what_is_no_beginning_is_an_error() -> None:
    tokens = AllowedTokens(labels("cat"), characters, [EOS])
    with pytest.raises(ValueError, match="no answer begins"):
        tokens.allowed(characters("cow"))


def test_an_open_set_cannot_be_enforced() -> None:
    with pytest.raises(DataError, match="cannot be restricted: too many"):
        AllowedTokens(AnswerSpace(None, reason="too many"), characters, [EOS])


@pytest.mark.parametrize("limit", [0, 20_000])
def test_one_trie_or_one_per_field_allow_the_same(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    space = json_space(3, 12, 2)
    monkeypatch.setattr(constrain, "MAX_ANSWERS", limit)
    tokens = AllowedTokens(space, characters, [EOS])
    assert sorted(everything(tokens)) == sorted(space.answers())


@pytest.mark.parametrize("limit", [0, 20_000])
def test_with_a_real_tokenizer(monkeypatch: pytest.MonkeyPatch, tiny_llama: Path, limit: int) -> None:
    renderer = Renderer.from_folder(tiny_llama)
    space = json_space(4, 11, 3)
    monkeypatch.setattr(constrain, "MAX_ANSWERS", limit)
    tokens = AllowedTokens(space, renderer.encode, [EOS])
    for answer in space.answers():
        ids = renderer.encode(answer)
        assert all(token in tokens.allowed(ids[:i]) for i, token in enumerate(ids))
        assert EOS in tokens.allowed(ids)
    choose = random.Random(0)
    assert {renderer.decode(walk(tokens, choose)) for _ in range(60)} <= set(space.answers())


def test_millions_of_answers_need_no_list() -> None:
    fields = {name: tuple(f'"{name}{i}"' for i in range(100)) for name in "abcd"}
    space = AnswerSpace("json", fields=fields, literals=('{"a": ', ', "b": ', ', "c": ', ', "d": ', "}"))
    assert space.size == 100**4
    tokens = AllowedTokens(space, characters, [EOS])
    assert json.loads("".join(map(chr, walk(tokens, random.Random(1))))).keys() == set("abcd")


def test_numbers_of_different_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constrain, "MAX_ANSWERS", 0)
    space = AnswerSpace("json", fields={"n": ("1", "12"), "m": ("1", "12")}, literals=('{"n":', ',"m":', "}"))
    tokens = AllowedTokens(space, characters, [EOS])
    assert tokens.allowed(characters('{"n":1')) == characters(",2")
    assert tokens.allowed(characters('{"n":12,"m":1')) == characters("2}")


def test_a_tokenizer_that_joins_fields_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constrain, "MAX_ANSWERS", 0)
    with pytest.raises(DataError, match="the tokenizer joins"):
        AllowedTokens(json_space(2, 2), lambda text: [hash(text)], [EOS])
