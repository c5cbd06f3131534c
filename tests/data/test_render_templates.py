"""Chat templates as they are found in the wild, and what each may not do without a word."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tokenizers import AddedToken

from luthier.data.example import Example
from luthier.data.render import Renderer
from luthier.data.tokens import Tokens
from luthier.errors import DataError, ModelError

QUESTION, ANSWER = {"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes."}
AGAIN, LAST = {"role": "user", "content": "More?"}, {"role": "assistant", "content": "No."}
TURN = "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TOOL = {"type": "function", "function": {"name": "price", "parameters": {"type": "object", "properties": {}}}}
CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "price", "arguments": '{"part": "bridge"}'},
}
CALLING = (
    {"role": "user", "content": "Price?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
)


def each(body: str) -> str:
    return "{% for message in messages %}" + body + "{% endfor %}"


TOOLS = (
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    + each(
        "<|im_start|>{{ message.role }}\n{{ message.content or '' }}{% for call in message.tool_calls or [] %}"
        "<call>{{ call.function.name }} {{ call.function.arguments | tojson }}</call>{% endfor %}<|im_end|>\n"
    )
    + PROMPT
)


@pytest.fixture(scope="module")
def tokens(tiny_llama: Path) -> Tokens:
    tokens = Tokens.from_folder(tiny_llama)
    more = [
        AddedToken(text, special=True) for text in ("</s>", "<|end|>", "<|return|>", "<|call|>", "<|eot|>")
    ]
    tokens.tokenizer.add_tokens(more)
    return tokens


def learnt(renderer: Renderer, *messages: dict, **fields: object) -> list[str]:
    example = Example(row_id="chats.jsonl:1", messages=messages, **fields)
    ids, weights = renderer.rows([example], sequence_len=None).row(0)
    texts, run = [], []
    for index, weight in [*zip(ids.tolist(), weights.tolist(), strict=True), (0, 0.0)]:
        if weight:
            run.append(index)
        elif run:
            texts.append(renderer.tokens.tokenizer.decode(run, skip_special_tokens=False))
            run = []
    return texts


SPACED = "{% if message.role == 'user' %}[Q] {{ message.content }} [A]{% else %} {{ message.content }} </s>{% endif %}"
RETURNING = (
    "<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{{ '<|return|>' if loop.last and message.role == 'assistant' else '<|end|>' }}"
)
THINKING = (
    "<|im_start|>{{ message.role }}\n"
    "{% if loop.last and message.role == 'assistant' %}<think></think>{% endif %}{{ message.content }}<|im_end|>\n"
)
TRIMMING = "<|im_start|>{{ message.role }}\n{{ message.content | trim }}<|end|><|eot|>"
OWN_SYSTEM = "{% if loop.first %}<|im_start|>system\nBe good.<|im_end|>\n{% endif %}" + TURN
CLOSED = "{% if add_generation_prompt %}<|im_start|>assistant\n{% else %}<|endoftext|>{% endif %}"


@pytest.mark.parametrize(
    ("template", "answers", "eos"),
    [
        pytest.param(each(TURN) + PROMPT, ["Yes.<|im_end|>", "No.<|im_end|>"], "<|im_end|>", id="chatml"),
        pytest.param(each(SPACED), [" Yes. </s>", " No. </s>"], "</s>", id="no generation prompt"),
        pytest.param(each(TURN) + CLOSED, ["Yes.<|im_end|>", "No.<|im_end|>"], "<|im_end|>", id="closed"),
        pytest.param(each(RETURNING) + PROMPT, ["Yes.<|end|>", "No.<|return|>"], "<|return|>", id="two ends"),
        pytest.param(
            each(THINKING) + PROMPT,
            ["Yes.<|im_end|>", "<think></think>No.<|im_end|>"],
            "<|im_end|>",
            id="thinking only in the last answer",
        ),
        pytest.param(
            each(TRIMMING) + PROMPT,
            ["Yes.<|end|><|eot|>", "No.<|end|><|eot|>"],
            "<|eot|>",
            id="two tokens end an answer",
        ),
        pytest.param(
            each(OWN_SYSTEM) + PROMPT,
            ["Yes.<|im_end|>", "No.<|im_end|>"],
            "<|im_end|>",
            id="a system turn of its own",
        ),
    ],
)
def test_answers_are_found_without_marks(tokens: Tokens, template: str, answers: list[str], eos: str) -> None:
    renderer = Renderer(tokens, template)
    assert learnt(renderer, QUESTION, ANSWER, AGAIN, LAST) == answers
    assert renderer.eos_ids[0] == renderer.tokens.added[eos]


def test_a_conversation_may_open_with_an_answer(tokens: Tokens) -> None:
    system = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe good.<|im_end|>\n{% endif %}"
    renderer = Renderer(tokens, system + each(TURN) + PROMPT)
    assert learnt(renderer, ANSWER, QUESTION, LAST) == ["Yes.<|im_end|>", "No.<|im_end|>"]


def test_a_template_that_never_ends_an_answer_is_refused(tokens: Tokens) -> None:
    renderer = Renderer(tokens, each("{{ message.role }}: {{ message.content }}\n"))
    with pytest.raises(DataError, match="would never stop"):
        learnt(renderer, QUESTION, ANSWER)
    assert renderer.encode("Hello")


PROMPTED = "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
MARKED = (
    "<|im_start|>{{ message.role }}\n{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ message.content }}<|im_end|>{% endif %}{{ '\n' }}"
)


def test_a_prompt_unlike_the_conversation_needs_marks(tokens: Tokens) -> None:
    with pytest.raises(DataError, match=r"chats\.jsonl:1: before message 2 .*think.* as a prompt"):
        learnt(Renderer(tokens, each(TURN) + PROMPTED), QUESTION, ANSWER)
    marked = Renderer(tokens, each(MARKED) + PROMPTED)
    assert learnt(marked, QUESTION, ANSWER, AGAIN, LAST) == ["Yes.<|im_end|>", "No.<|im_end|>"]
    example = Example(row_id="chats.jsonl:1", messages=(QUESTION, ANSWER))
    assert marked.rows([example], sequence_len=None).report.unlike_prompt == ("chats.jsonl:1",)


def test_a_mark_takes_in_the_terminator_behind_it(tokens: Tokens) -> None:
    outside = MARKED.replace("<|im_end|>{% endgeneration %}", "{% endgeneration %}<|im_end|>")
    assert learnt(Renderer(tokens, each(outside) + PROMPTED), QUESTION, ANSWER) == ["Yes.<|im_end|>"]
    missing = MARKED.replace("<|im_end|>{% endgeneration %}", "{% endgeneration %}!<|im_end|>")
    with pytest.raises(DataError, match="leaves out the token that ends"):
        learnt(Renderer(tokens, each(missing) + PROMPTED), QUESTION, ANSWER)


def test_marks_change_nothing_where_they_are_not_needed(tokens: Tokens) -> None:
    row = [Example(row_id="r", messages=(QUESTION, ANSWER, AGAIN, LAST))]
    plain = Renderer(tokens, each(TURN) + PROMPT).rows(row, sequence_len=None)
    marked = Renderer(tokens, each(MARKED) + PROMPT).rows(row, sequence_len=None)
    assert plain.ids.tolist() == marked.ids.tolist()
    assert plain.weights.tolist() == marked.weights.tolist()
    assert plain.report.unlike_prompt == marked.report.unlike_prompt == ()


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
        learnt(
            Renderer(tokens, TOOLS), QUESTION, {"role": "assistant", "content": None, "tool_calls": [broken]}
        )


def test_an_empty_answer_is_refused(tokens: Tokens) -> None:
    with pytest.raises(DataError, match="has an assistant turn without content"):
        learnt(Renderer(tokens, TOOLS), QUESTION, {"role": "assistant", "content": None})
    with pytest.raises(DataError, match="without `role`"):
        learnt(Renderer(tokens, TOOLS), {"content": "?"}, ANSWER)


def test_a_system_turn_is_written_or_refused(tokens: Tokens) -> None:
    silent = each("{% if message.role != 'system' %}" + TURN + "{% endif %}") + PROMPT
    strict = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + each(TURN)
        + PROMPT
    )
    for template in (silent, strict):
        renderer = Renderer(tokens, template)
        assert not renderer.supports_system
        with pytest.raises(DataError, match=r"has a system turn.*first user turn"):
            learnt(renderer, {"role": "system", "content": "Be good."}, QUESTION, ANSWER)


def test_reasoning_is_written_or_refused(tokens: Tokens) -> None:
    thought = {**ANSWER, "reasoning_content": "Hm."}
    with pytest.raises(DataError, match="has `reasoning_content`"):
        learnt(Renderer(tokens, each(TURN) + PROMPT), QUESTION, thought)
    writing = TURN.replace("\n{{ message.content", "\n{{ message.reasoning_content }}{{ message.content")
    assert learnt(Renderer(tokens, each(writing) + PROMPT), QUESTION, thought) == ["Hm.Yes.<|im_end|>"]


def test_what_a_template_refuses_names_the_row(tokens: Tokens) -> None:
    strict = (
        "{% if messages | length > 2 %}{{ raise_exception('too long') }}{% endif %}" + each(TURN) + PROMPT
    )
    with pytest.raises(DataError, match=r"chats\.jsonl:1: .*too long"):
        learnt(Renderer(tokens, strict), QUESTION, ANSWER, AGAIN, LAST)


def test_a_template_cannot_reach_python(tokens: Tokens) -> None:
    escaping = "{{ messages.__class__.__mro__ }}" + each(TURN) + PROMPT
    with pytest.raises(DataError, match="unsafe"):
        Renderer(tokens, escaping).prompt("Hello")


def test_templates_have_what_transformers_gives_them(tokens: Tokens) -> None:
    template = (
        "{% for message in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
        "{{ {'a': '<é>'} | tojson }}{{ strftime_now('%Y') | length }}{{ eos_token }}{% endfor %}"
    )
    renderer = Renderer(tokens, template)
    assert (
        renderer.tokens.tokenizer.decode(renderer.prompt("x"), skip_special_tokens=False)
        == '{"a": "<é>"}4<|im_end|>'
    )


def test_default_templates(tokens: Tokens) -> None:
    chatml = Renderer(dataclasses.replace(tokens, template=None))
    assert chatml.template_source == "default"
    assert chatml.prompt("Hello?") == Renderer(tokens).prompt("Hello?")
    assert learnt(chatml, QUESTION, ANSWER) == ["Yes.<|im_end|>"]


def test_the_plain_default_ends_with_the_models_own_eos(tokens: Tokens, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    letters = {token: index for index, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["</s>"])
    base = dataclasses.replace(tokens, tokenizer=tokenizer, template=None, special={"eos_token": "</s>"})
    renderer = Renderer(base)
    system = {"role": "system", "content": "Be good."}
    ids = renderer.rows([Example("r", messages=(system, QUESTION, ANSWER))], sequence_len=None).ids.tolist()
    text = "".join(tokenizer.id_to_token(index) for index in ids).replace("Ċ", "\n").replace("Ġ", " ")
    assert text == "### System:\nBe good.\n\n### User:\nHello?\n\n### Assistant:\nYes.</s>\n\n"
    assert renderer.eos_ids[0] == tokenizer.token_to_id("</s>")
    with pytest.raises(ModelError, match="neither a chat template"):
        Renderer(dataclasses.replace(base, special={})).prompt("Hello")
