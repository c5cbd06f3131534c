"""Rows → token ids and the weight of predicting each; the only place that knows chat templates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from jinja2 import TemplateSyntaxError

from luthier.data.conversation import for_template
from luthier.data.example import Example, Message
from luthier.data.gather import Gather, Piece, Truncation, bounded
from luthier.data.plan import Objective, Plan, TrainOn, planner
from luthier.data.quick import agrees, quick_tokenizer
from luthier.data.rendered import Rendered, RenderReport, load, save
from luthier.data.sources.faults import Faults
from luthier.data.template import CHATML, PLAIN, Template, Tools
from luthier.data.tokens import Tokens
from luthier.data.turns import Turns
from luthier.errors import DataError, ModelError, RecipeError

__all__ = ["RenderReport", "Rendered", "Renderer", "render_cached"]

VERSION = 2
"""Part of every fingerprint: a change of what is rendered raises it."""
CHUNK_ROWS = 512
COMPARED_ROWS = 8
"""Rows of a chunk whose ids are compared, where fastokens encodes it."""

Progress = Callable[[int, int], None]
"""Is told (rows done, rows in all)."""


class Renderer:
    """A model's chat template and tokenizer. Needs no torch and no transformers."""

    def __init__(self, tokens: Tokens, chat_template: str | None = None) -> None:
        self.tokens = tokens
        self.quick_differs = False
        """Whether fastokens was left alone because its ids for some rows are not those of `tokenizers`."""
        self._own_template = chat_template if chat_template is not None else tokens.template
        self.template_source: Literal["model", "recipe", "default"] = "default"
        """Where the chat template comes from; `default` where the model has none (docs/rendering.md)."""
        if self._own_template is not None:
            self.template_source = "model" if chat_template is None else "recipe"
        self._template = self._parse()
        self._turns = Turns(self._template, tokens.added_pattern()) if self._template else None

    @classmethod
    def from_folder(cls, folder: Path, chat_template: str | None = None) -> Renderer:
        """Reads tokenizer and chat template of a model folder; `chat_template`, Jinja text, replaces its own.

        Raises ModelError for missing or broken files, RecipeError for a `chat_template` that is not Jinja.
        """
        return cls(Tokens.from_folder(folder), chat_template)

    @property
    def chats(self) -> bool:
        """Whether there is a chat template: the model's, the recipe's, or the default for models that write."""
        return self._template is not None

    @property
    def chat_template(self) -> str | None:
        """Its Jinja text."""
        return self._template.source if self._template else None

    @property
    def supports_tools(self) -> bool:
        """Whether the chat template writes tools; rows with tools are refused where it does not."""
        return self._template is not None and self._template.refusal("tools") is None

    @property
    def supports_system(self) -> bool:
        """Whether the chat template writes a system turn; rows with one are refused where it does not."""
        return self._template is not None and self._template.refusal("a system turn") is None

    @cached_property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids that end an answer: the template's terminator, then the model's own; none for an encoder."""
        if self._turns is None:
            return self.tokens.stop_ids
        terminator = self.tokens.encode([self._turns.terminator])[0].ids[-1]
        return tuple(dict.fromkeys((terminator, *self.tokens.stop_ids)))

    @property
    def vocab_size(self) -> int:
        """Tokens of the tokenizer, added ones included."""
        return self.tokens.tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def fingerprint(self) -> str:
        """The hash of template and tokenizer: what a row becomes under given settings depends on no more."""
        source = self._template.source if self._template else None
        today = date.today().isoformat() if self._template and self._template.uses_clock else None
        return _hash([VERSION, self.tokens.sha256, source, today])

    def rows(
        self,
        examples: Sequence[Example],
        *,
        sequence_len: int | None,
        truncation: Truncation = "error",
        train_on: TrainOn = "assistant",
        objective: Objective = "sft",
        progress: Progress | None = None,
    ) -> Rendered:
        """Renders examples; rows without a token that counts, or dropped for length, are left out and named.

        `sequence_len` is in tokens. sft: a weight of 1 on answers and their terminators; pretrain: eos added,
        a weight of 1 everywhere; classify: the tokenizer's own special tokens, all weights 0. Weights of
        messages and of the example multiply. Raises DataError, naming the row, where one cannot be rendered.
        """
        plan = planner(objective, train_on, self._chat)
        gather = Gather(self.tokens, objective, sequence_len, truncation)
        for first in range(0, len(examples), CHUNK_ROWS):
            chunk = examples[first : first + CHUNK_ROWS]
            plans = [_planned(examples, number, plan) for number in range(first, first + len(chunk))]
            if not self._agrees(plans):
                self._quick, self.quick_differs = None, True
                return self.rows(examples, sequence_len=sequence_len, truncation=truncation, train_on=train_on,
                                 objective=objective, progress=progress)  # fmt: skip
            encoded = self._encode(plans, special=objective != "sft")
            for number, (example, row, pieces) in enumerate(zip(chunk, plans, encoded, strict=True), first):
                gather.add(number, example, row, pieces)
            if progress:
                progress(first + len(chunk), len(examples))
        return gather.finish()

    def prompt(self, messages: Sequence[Message] | str, tools: Tools = None) -> list[int]:
        """Ids of a conversation, or of one question, up to where the answer begins.

        They are the very ids that a training row with this beginning has before its answer.
        """
        template, turns = self._chat()
        asked = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        plain, tools = for_template(template, asked, tools)
        text = template.text(plain, tools, prompt=True)
        cuts = sorted(turns.starts(plain, tools, text).values())
        (pieces,) = self._encode([Plan(text, 0.0, cuts=cuts)], special=False)
        return [index for _, piece in pieces for index in piece.ids]

    def text(self, messages: Sequence[Message], tools: Tools = None) -> str:
        """A conversation as the chat template writes it, answers and special tokens included."""
        template, _ = self._chat()
        return template.text(*for_template(template, messages, tools))

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Ids of a text; with `special`, the tokenizer adds bos, [CLS] and the like."""
        return self.tokens.encode([text], special)[0].ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens left out."""
        return self.tokens.tokenizer.decode(list(ids), skip_special_tokens=True)

    def _chat(self) -> tuple[Template, Turns]:
        if self._template is None or self._turns is None:
            mend = "Use a model that writes text, or `objective: classify`; a `chat_template` can be given too"
            raise ModelError("the model has neither a chat template nor an end-of-text token", mend=mend)
        return self._template, self._turns

    def _parse(self) -> Template | None:
        source = self._own_template if self._own_template is not None else self._default_template()
        if source is None:
            return None
        try:
            return Template(source, self.tokens.special)
        except TemplateSyntaxError as error:
            kind = RecipeError if self.template_source == "recipe" else ModelError
            where = f"chat_template, line {error.lineno}"
            raise kind(f"is not a Jinja template ({error.message})", where, "Mend the template") from error

    def _default_template(self) -> str | None:
        bos = "{{ bos_token }}" if self.tokens.adds_bos else ""
        if {"<|im_start|>", "<|im_end|>"} <= self.tokens.added.keys():
            return bos + CHATML
        return bos + PLAIN if "eos_token" in self.tokens.special else None

    def _encode(self, plans: Sequence[Plan], special: bool) -> Iterator[list[Piece]]:
        """For each plan, its pieces as (first character, encoding)."""
        starts = [self._pieces(plan) for plan in plans]
        ends = [[*begin[1:], len(plan.text)] for begin, plan in zip(starts, plans, strict=True)]
        texts = [
            plan.text[start:end]
            for plan, begins, stops in zip(plans, starts, ends, strict=True)
            for start, end in zip(begins, stops, strict=True)
        ]
        offsets = not all(bounded(*each) for each in zip(plans, starts, strict=True))
        encoder = self.tokens.tokenizer if offsets or self._quick is None else self._quick
        encodings = iter(encoder.encode_batch(texts, add_special_tokens=special))
        for begins in starts:
            yield [(start, next(encodings)) for start in begins]

    def _pieces(self, plan: Plan) -> list[int]:
        """The first character of each part that is encoded by itself: cuts, and where answers end with an added token
        that splits a text in any case."""
        if not self.tokens.splits:
            return [0]
        closed = [span.end for span, _ in plan.spans if plan.text.endswith(self.tokens.closing, 0, span.end)]
        return [0, *sorted({*plan.cuts, *closed} - {0, len(plan.text)})]

    @cached_property
    def _quick(self) -> Any | None:
        return quick_tokenizer(self.tokens.tokenizer, list(self.tokens.added))

    def _agrees(self, plans: Sequence[Plan]) -> bool:
        """Whether fastokens, where it is used, gives the ids of `tokenizers` for some of these rows."""
        texts = [plan.text for plan in plans[:: max(1, len(plans) // COMPARED_ROWS)]]
        return self._quick is None or agrees(self._quick, self.tokens.tokenizer, texts)


def render_cached(
    renderer: Renderer,
    examples: Sequence[Example],
    cache: Path,
    *,
    progress: Progress | None = None,
    **settings: Any,
) -> Rendered:
    """`renderer.rows(examples, **settings)`, kept as memory-mapped arrays in a folder of `cache`.

    The folder's name is the hash of template, tokenizer, settings, and the rows' content, ids and weights.
    """
    rows = [[example.row_id, example.content_id, example.weight] for example in examples]
    folder = cache / _hash([renderer.fingerprint, settings, rows])
    if not folder.exists():
        save(renderer.rows(examples, progress=progress, **settings), folder)
    return load(folder, [example.row_id for example in examples])


def _planned(examples: Sequence[Example], number: int, plan: Callable[[Example], Plan]) -> Plan:
    """The plan of one row. Raises DataError with the row's id, and how many of the rows after it fail as well."""
    try:
        return plan(examples[number])
    except DataError:
        faults = Faults()
        for example in examples[number:]:
            try:
                plan(example)
            except DataError as error:
                faults.add(error, example.row_id)
        faults.raise_first()
        raise


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
