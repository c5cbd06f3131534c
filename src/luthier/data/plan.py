"""A row before it is encoded: its text, where that may be cut, and which characters count how much."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from luthier.data.conversation import conversation
from luthier.data.example import Example
from luthier.data.template import Template
from luthier.data.turns import Span, Turns
from luthier.errors import DataError

Objective = Literal["sft", "pretrain", "classify"]
TrainOn = Literal["assistant", "last", "all"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is encoded, and the weight of predicting its tokens before the example's own weight is applied."""

    text: str
    weight: float
    """Of every token outside `spans`."""
    spans: list[tuple[Span, float]] = field(default_factory=list)
    """Answers, in order, and the weight of their tokens."""
    cuts: list[int] = field(default_factory=list)
    """Characters at which each answer begins: the text before is encoded without looking at what follows."""
    unlike_prompt: bool = False
    """Whether a trained answer does not begin where a prompt would end (see `Turns.spans`)."""


def planner(
    objective: Objective, train_on: TrainOn, template: Callable[[], tuple[Template, Turns]]
) -> Callable[[Example], Plan]:
    """The function that plans a row for `objective`; `template` is asked only where a template is needed."""
    if objective == "classify":
        return lambda example: Plan(_text(example, example.prompt), weight=0.0)
    if objective == "pretrain":
        return lambda example: Plan(_text(example, None), weight=1.0)
    found, turns = template()
    _ = turns.terminator  # a template that never ends an answer is refused before its rows are
    return lambda example: _chat(example, found, turns, train_on)


def _text(example: Example, other: str | None) -> str:
    text = example.text if example.text is not None else other
    if text is None:
        raise DataError("has no plain text", mend="Chats and prompts are learnt with `objective: sft`")
    return text


def _chat(example: Example, template: Template, turns: Turns, train_on: TrainOn) -> Plan:
    messages, tools = conversation(example, template)
    text = template.text(messages, tools)
    starts = turns.starts(messages, tools, text)
    weights = _answer_weights(example, train_on)
    outside = 1.0 if train_on == "all" else 0.0
    wanted = {index: weight for index, weight in weights.items() if weight != outside}
    spans = turns.spans(messages, tools, text, starts, wanted)
    weighted = [(spans[index], weight) for index, weight in wanted.items()]
    unlike_prompt = not wanted.keys() <= starts.keys()
    return Plan(text, outside, weighted, sorted(starts.values()), unlike_prompt)


def _answer_weights(example: Example, train_on: TrainOn) -> dict[int, float]:
    """Number of each assistant message → its weight, which is 0 where it is not trained on."""
    messages = example.messages or ({"role": "user"}, {"role": "assistant"})
    weights = {index: _weight(turn) for index, turn in enumerate(messages) if turn.get("role") == "assistant"}
    if train_on == "last":
        last = max(weights, default=None)
        return {index: weight if index == last else 0.0 for index, weight in weights.items()}
    return weights


def _weight(message: Mapping[str, Any]) -> float:
    weight = message.get("weight")
    weight = 1.0 if weight is None else weight
    if not isinstance(weight, int | float) or weight < 0:
        raise DataError(f"has a message with weight {weight!r}", mend="Weights are 0, 1, or another number above 0")
    return float(weight)
