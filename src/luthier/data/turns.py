"""Where, in a rendered conversation, the assistant's answers begin and end.

No marker in the template is needed. An answer begins where the same conversation, cut before the answer and
rendered with the generation prompt, ends: what follows is what the model will have to write. It ends with its
terminator, the first added token (<|im_end|>, </s>, …) behind its own text; the newline that many templates
put behind that token belongs to the next turn. Both are looked up in renderings of parts of the conversation,
and hold only where the part reads as the whole does; a template that rewrites earlier turns has to mark
answers with `{% generation %}`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from luthier.data.example import Message
from luthier.data.template import SENTINEL, USER, Messages, Template, Tools
from luthier.errors import DataError

ANSWER = {"role": "assistant", "content": SENTINEL}
NEXT = {"role": "user", "content": f"{SENTINEL}2"}
SHOWN = 40
"""Characters of a template's text that an error quotes."""
MARK_ANSWERS = (
    "Give a `chat_template` that writes both alike, or has {% generation %} around each answer; with "
    "`train_on: last` only the last answer matters"
)


class Span(NamedTuple):
    """Characters from `start` to `end`, exclusive."""

    start: int
    end: int


@dataclass(frozen=True)
class Ending:
    """What a template writes behind an answer, and the terminator that this begins with."""

    after: str
    terminator: str


class Turns:
    """Finds answers in the texts of one template; `added` matches the tokenizer's added tokens."""

    def __init__(self, template: Template, added: re.Pattern[str]) -> None:
        self._template = template
        self._added = added

    @property
    def terminator(self) -> str:
        """What ends an answer, up to its last added token: `<|im_end|>`, ` </s>`.

        Raises DataError where no added token follows an answer: a model trained on it would never stop.
        """
        return self._at_end.terminator

    def starts(self, messages: Messages, tools: Tools, text: str) -> dict[int, int]:
        """Number of each assistant message → where in `text` it begins; only those that can be told."""
        found = {i: self._start(messages[:i], tools, text) for i, turn in enumerate(messages) if _is_answer(turn)}
        return {i: start for i, start in found.items() if start is not None}

    def spans(
        self, messages: Messages, tools: Tools, text: str, starts: dict[int, int], wanted: Collection[int]
    ) -> dict[int, Span]:
        """Number of each wanted assistant message → its answer in `text`, terminator included.

        Where the template does not read the same from the front, its `{% generation %}` blocks decide; raises
        DataError where it has none.
        """
        ends = {index: self._end(messages, index, tools, text) for index in wanted if index in starts}
        unclear = [index for index in wanted if ends.get(index) is None]
        if not unclear:
            return {index: Span(starts[index], end) for index, end in ends.items() if end is not None}
        if not self._template.has_tags:
            raise self._unclear(messages, unclear[0], tools, text)
        return self._tagged(messages, tools, text, wanted)

    @cached_property
    def _at_end(self) -> Ending:
        after = self._after_answer([USER, ANSWER])
        token = self._added.search(after)
        if token is None:
            raise DataError(
                f"the chat template ends an answer with {after!r}, which holds no special token: a model "
                "trained on it would never stop",
                mend="Give a `chat_template` that writes eos_token behind each answer",
            )
        while another := self._added.match(after, token.end()):
            token = another
        return Ending(after, after[: token.end()])

    @cached_property
    def _before_user(self) -> Ending:
        after = self._after_answer([USER, ANSWER, NEXT]).rpartition(NEXT["content"])[0]
        return Ending(after, self._at_end.terminator)

    @cached_property
    def _opening(self) -> str | None:
        """What stands before an answer that opens the conversation."""
        try:
            return self._template.text([ANSWER]).partition(SENTINEL)[0]
        except DataError:
            return None

    def _after_answer(self, messages: Messages) -> str:
        _, found, after = self._template.text(messages).partition(SENTINEL)
        if not found:
            raise DataError("the chat template does not write what an assistant says", mend="Give another one")
        return after

    def _start(self, before: Messages, tools: Tools, text: str) -> int | None:
        prompt = self._prompt(before, tools)
        return len(prompt) if prompt is not None and text.startswith(prompt) else None

    def _prompt(self, before: Messages, tools: Tools) -> str | None:
        try:
            return self._template.text(before, tools, prompt=True) if before else self._opening
        except DataError:
            return None

    def _end(self, messages: Messages, index: int, tools: Tools, text: str) -> int | None:
        """Looked up as the last turn and, as some templates write that one differently, before a user's."""
        if index == len(messages) - 1:
            return self._terminated(text, self._body(text, self._at_end), self._at_end)
        head = messages[: index + 1]
        return self._end_as_in(head, None, tools, text) or self._end_as_in(head, NEXT, tools, text)

    def _end_as_in(self, head: Messages, following: Message | None, tools: Tools, text: str) -> int | None:
        """The end of the last answer of `head`, where `head` and `following` begin as `text` does."""
        try:
            part = self._template.text([*head, following] if following else head, tools)
            ending = self._before_user if following else self._at_end
        except DataError:
            return None
        part = part.rpartition(following["content"])[0] if following else part
        body = self._body(part, ending)
        return self._terminated(text, body, ending) if text.startswith(part[:body]) else None

    def _body(self, text: str, ending: Ending) -> int:
        """Where the last answer's own text ends, in a text that ends behind that answer."""
        if text.endswith(ending.after):
            return len(text) - len(ending.after)
        tokens = list(self._added.finditer(text))
        return tokens[-1].start() if tokens else len(text)

    def _terminated(self, text: str, body: int, ending: Ending) -> int | None:
        """The end of the terminator that follows an answer's own text, which ends at `body`."""
        if text.startswith(ending.terminator, body):
            return body + len(ending.terminator)
        other = self._added.match(text, body)
        return other.end() if other else None

    def _tagged(self, messages: Messages, tools: Tools, text: str, wanted: Collection[int]) -> dict[int, Span]:
        numbers = [i for i, turn in enumerate(messages) if _is_answer(turn)]
        marked, found = self._template.tagged(messages, tools)
        if marked != text or len(found) != len(numbers):
            what = f"has {len(numbers)} answers, and {len(found)} generation blocks in the chat template"
            raise DataError(what, mend="Put one {% generation %} around each answer")
        spans = dict(zip(numbers, found, strict=True))
        return {index: self._with_terminator(text, *spans[index]) for index in wanted}

    def _unclear(self, messages: Messages, index: int, tools: Tools, text: str) -> DataError:
        what = f"the chat template writes message {index + 1} differently once the conversation goes on"
        prompt = self._prompt(messages[:index], tools)
        if prompt is not None and not text.startswith(prompt):
            same = next((i for i, pair in enumerate(zip(prompt, text, strict=False)) if pair[0] != pair[1]), 0)
            at = max(same - 10, 0)
            what = (
                f"before message {index + 1} the chat template writes {prompt[at : at + SHOWN]!r} as a "
                f"prompt, and {text[at : at + SHOWN]!r} in the whole conversation"
            )
        return DataError(f"{what}, so it cannot be told what the model has to write", mend=MARK_ANSWERS)

    def _with_terminator(self, text: str, start: int, end: int) -> Span:
        """A marked answer, up to the last added token in it or else the one right behind it."""
        inside = [token for token in self._added.finditer(text, start, end) if not text[token.end() : end].strip()]
        token = inside[-1] if inside else self._added.match(text, end)
        if token is None:
            raise DataError(
                "{% generation %} leaves out the token that ends the answer: a model would never stop",
                mend="Put that token inside the block, or right behind it",
            )
        return Span(start, token.end())


def _is_answer(message: Message) -> bool:
    return message["role"] == "assistant"
