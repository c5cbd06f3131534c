"""Similar training rows as examples in the prompt."""

from __future__ import annotations

from luthier.data.example import Example
from luthier.evaluate import few_shot
from luthier.evaluate.few_shot import similar, with_shots


def row(number: int, prompt: str, completion: str | None = "a") -> Example:
    return Example(f"f:{number}", prompt=prompt, completion=completion)


TRAIN = [
    row(1, "where is my parcel"),
    row(2, "I forgot my password"),
    row(3, "my parcel is late", "b"),
    row(4, "where is my parcel?", None),
    row(5, "how do I reset the password"),
    row(6, ""),
]


def ids(shots: list[Example]) -> list[str]:
    return [shot.row_id for shot in shots]


def test_the_most_similar_come_last() -> None:
    (shots,) = similar(TRAIN, [row(9, "the parcel is late, where is it")], 2)
    assert ids(shots) == ["f:1", "f:3"]


def test_never_the_question_itself() -> None:
    (shots,) = similar(TRAIN, [Example("t:1", prompt="where is my parcel", completion="other")], 4)
    assert "f:1" not in ids(shots)
    assert len(shots) == 3


def test_of_equals_the_earlier() -> None:
    twins = [row(i, "the same words", str(i)) for i in range(8)]
    (shots,) = similar(twins, [row(9, "the same words, nearly")], 3)
    assert ids(shots) == ["f:2", "f:1", "f:0"]


def test_no_training_rows_no_shots() -> None:
    assert similar([row(1, "", "x"), row(2, "q", None)], [row(9, "q"), row(8, "r")], 4) == [[], []]


def test_blocks_change_nothing(monkeypatch) -> None:
    tests = [row(i, text) for i, text in enumerate(["parcel late", "password lost", "where", "reset", "unknown words"])]
    whole = similar(TRAIN, tests, 2)
    monkeypatch.setattr(few_shot, "BLOCK_ROWS", 2)
    assert similar(TRAIN, tests, 2) == whole


def test_messages_of_prompts() -> None:
    assert with_shots(row(9, "q"), TRAIN[:2], system="be brief") == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "where is my parcel"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "I forgot my password"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "q"},
    ]


def test_the_system_message_stands_first_and_once() -> None:
    def chat(number: int, user: str) -> Example:
        roles = (("system", f"system {number}"), ("user", user), ("assistant", "answer"))
        return Example(f"f:{number}", messages=tuple({"role": r, "content": c} for r, c in roles))

    messages = with_shots(chat(9, "now"), [chat(1, "then")], system="not used")
    assert [turn["content"] for turn in messages] == ["system 9", "then", "answer", "now"]


def test_labels_are_answers() -> None:
    one, several = Example("f:1", text="t", label="x"), Example("f:2", text="u", labels=("x", "y"))
    messages = with_shots(Example("f:3", text="v"), [one, several])
    assert [turn["content"] for turn in messages] == ["t", "x", "u", "x, y", "v"]


def test_no_shots_is_the_plain_question() -> None:
    assert with_shots(row(9, "q"), []) == [{"role": "user", "content": "q"}]
