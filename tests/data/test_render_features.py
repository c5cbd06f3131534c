"""Tools, system turns, reasoning: what a template does not write is refused, not dropped."""

from __future__ import annotations

from pathlib import Path

import pytest
from chats import AGAIN, ANSWER, CALL, CALLING, LAST, PROMPT, QUESTION, TOOL, TOOLS, TURN, each, learnt, tokens_of

from luthier.data.example import Example
from luthier.data.render import Renderer
from luthier.data.tokens import Tokens
from luthier.errors import DataError


@pytest.fixture(scope="module")
def tokens(tiny_llama: Path) -> Tokens:
    return tokens_of(tiny_llama)


def test_tools_and_calls_are_written_or_refused(tokens: Tokens) -> None:
    able = Renderer(tokens, TOOLS)
    assert able.supports_tools
    assert learnt(able, *CALLING, tools=(TOOL,)) == ['<call>price {"part": "bridge"}</call><|im_end|>']
    plain = Renderer(tokens, each(TURN) + PROMPT)
    assert not plain.supports_tools
    with pytest.raises(DataError, match=r"chats\.jsonl:1: has tool calls, which .*chat_template"):
        learnt(plain, *CALLING)
    with pytest.raises(DataError, match=r"chats\.jsonl:1: has tools, which"):
        learnt(plain, QUESTION, ANSWER, tools=(TOOL,))
    calling = Example("chats.jsonl:2", messages=tuple(CALLING))
    rows = [Example("chats.jsonl:1", messages=(QUESTION, ANSWER)), calling, calling, calling]
    with pytest.raises(DataError, match=r"^chats\.jsonl:2: .*\(2 more rows have a fault\)"):
        plain.rows(rows, sequence_len=None)
    with pytest.raises(DataError, match="has tools, which"):
        plain.prompt("Price?", tools=[TOOL])


def test_arguments_as_text_where_the_template_adds_them_to_text(tokens: Tokens) -> None:
    adding = TOOLS.replace("{{ call.function.arguments | tojson }}", "{{ '' + call.function.arguments }}")
    assert learnt(Renderer(tokens, adding), *CALLING) == ['<call>price {"part": "bridge"}</call><|im_end|>']


def test_empty_content_where_the_template_cannot_take_none(tokens: Tokens) -> None:
    adding = TOOLS.replace("message.content or ''", "message.content + ''")
    assert learnt(Renderer(tokens, adding), *CALLING) == ['<call>price {"part": "bridge"}</call><|im_end|>']


def test_broken_arguments_name_the_row(tokens: Tokens) -> None:
    broken = {**CALL, "function": {"name": "price", "arguments": "{part"}}
    with pytest.raises(DataError, match=r"chats\.jsonl:1: calls `price` with arguments that are not JSON"):
        learnt(Renderer(tokens, TOOLS), QUESTION, {"role": "assistant", "content": None, "tool_calls": [broken]})


def test_an_empty_answer_is_refused(tokens: Tokens) -> None:
    with pytest.raises(DataError, match="has an assistant turn without content"):
        learnt(Renderer(tokens, TOOLS), QUESTION, {"role": "assistant", "content": None})
    with pytest.raises(DataError, match="without `role`"):
        learnt(Renderer(tokens, TOOLS), {"content": "?"}, ANSWER)


def test_a_system_turn_is_written_or_refused(tokens: Tokens) -> None:
    silent = each("{% if message.role != 'system' %}" + TURN + "{% endif %}") + PROMPT
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + each(TURN) + PROMPT
    for template in (silent, strict):
        renderer = Renderer(tokens, template)
        assert not renderer.supports_system
        with pytest.raises(DataError, match=r"(does not write|cannot write \(no system\))\. Put it into"):
            learnt(renderer, {"role": "system", "content": "Be good."}, QUESTION, ANSWER)


def test_reasoning_is_written_or_refused(tokens: Tokens) -> None:
    thought = {**ANSWER, "reasoning_content": "Hm."}
    with pytest.raises(DataError, match="has `reasoning_content`"):
        learnt(Renderer(tokens, each(TURN) + PROMPT), QUESTION, thought)
    writing = TURN.replace("\n{{ message.content", "\n{{ message.reasoning_content }}{{ message.content")
    assert learnt(Renderer(tokens, each(writing) + PROMPT), QUESTION, thought) == ["Hm.Yes.<|im_end|>"]


def test_what_a_template_refuses_names_the_row(tokens: Tokens) -> None:
    strict = "{% if messages | length > 2 %}{{ raise_exception('too long') }}{% endif %}" + each(TURN) + PROMPT
    with pytest.raises(DataError, match=r"chats\.jsonl:1: .*too long"):
        learnt(Renderer(tokens, strict), QUESTION, ANSWER, AGAIN, LAST)
