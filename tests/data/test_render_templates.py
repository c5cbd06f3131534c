"""Where answers begin and end in chat templates as they are found in the wild."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from chats import AGAIN, ANSWER, LAST, PROMPT, QUESTION, TURN, each, learnt, tokens_of
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from luthier.data.example import Example
from luthier.data.render import Renderer
from luthier.data.tokens import Tokens
from luthier.errors import DataError, ModelError

SPACED = "{% if message.role == 'user' %}Q {{ message.content }} A{% else %} {{ message.content }} </s>{% endif %}"
RETURNING = (
    "<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{{ '<|return|>' if loop.last and message.role == 'assistant' else '<|end|>' }}"
)
THINKING = (
    "<|im_start|>{{ message.role }}\n"
    "{% if loop.last and message.role == 'assistant' %}<think></think>{% endif %}"
    "{{ message.content }}<|im_end|>\n"
)
TRIMMING = "<|im_start|>{{ message.role }}\n{{ message.content | trim }}<|end|><|eot|>"
OWN_SYSTEM = "{% if loop.first %}<|im_start|>system\nBe good.<|im_end|>\n{% endif %}" + TURN
CLOSED = "{% if add_generation_prompt %}<|im_start|>assistant\n{% else %}<|endoftext|>{% endif %}"


@pytest.fixture(scope="module")
def tokens(tiny_llama: Path) -> Tokens:
    return tokens_of(tiny_llama)


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
        renderer.tokens.tokenizer.decode(renderer.prompt("x"), skip_special_tokens=False) == '{"a": "<é>"}4<|im_end|>'
    )


def test_lines_that_hold_only_a_block_leave_nothing_behind(tokens: Tokens) -> None:
    template = "{% for message in messages %}\n    {% if true %}\n  x\n    {% endif %}\n{% endfor %}\ny"
    text = tokens.tokenizer.decode(Renderer(tokens, template).prompt("x"))
    assert text == "  x\ny"


def test_a_weight_is_not_shown_to_the_template(tokens: Tokens) -> None:
    renderer = Renderer(tokens, each("{{ message | list | join(' ') }}<|im_end|>"))
    assert renderer.decode(renderer.prompt([{**QUESTION, "weight": 0, "name": None}])) == "role content"


def test_an_end_that_the_tokenizer_does_not_see_is_refused(tokens: Tokens) -> None:
    tokenizer = Tokenizer.from_str(tokens.tokenizer.to_str())
    tokenizer.add_tokens([AddedToken("stop", single_word=True)])
    renderer = Renderer(dataclasses.replace(tokens, tokenizer=tokenizer), each("{{ message.content }}stop\n"))
    with pytest.raises(DataError, match=r"chats\.jsonl:1: has an answer whose end would not be learnt"):
        learnt(renderer, QUESTION, {"role": "assistant", "content": "Yes"})


def test_a_tokenizer_that_puts_a_space_before_every_text_is_not_asked_in_parts(tokens: Tokens) -> None:
    """As Llama 2's does: two parts would have a space between them that the conversation has not."""
    characters = {token: index for index, token in enumerate("▁ abcdefghijklmnopqrstuvwxyzHMNY?.\n[]Q/")}
    tokenizer = Tokenizer(models.BPE(characters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer.add_special_tokens(["</s>"])
    llama = dataclasses.replace(tokens, tokenizer=tokenizer, special={"eos_token": "</s>"})
    asked, said = "[Q]{{ message.content }}[/Q]", "{{ message.content }}</s>"
    renderer = Renderer(llama, each("{% if message.role == 'user' %}" + asked + "{% else %}" + said + "{% endif %}"))
    assert learnt(renderer, QUESTION, ANSWER, AGAIN, LAST) == ["Yes.</s>", "No.</s>"]
    rows = renderer.rows([Example("r", messages=(QUESTION, ANSWER))], sequence_len=None)
    prompt = renderer.prompt([QUESTION])
    assert rows.ids[: len(prompt)].tolist() == prompt
    assert tokenizer.decode(rows.ids.tolist(), skip_special_tokens=False) == "[Q]Hello?[/Q]Yes.</s>"


def test_default_templates(tokens: Tokens) -> None:
    chatml = Renderer(dataclasses.replace(tokens, template=None))
    assert chatml.template_source == "default"
    assert chatml.prompt("Hello?") == Renderer(tokens).prompt("Hello?")
    assert learnt(chatml, QUESTION, ANSWER) == ["Yes.<|im_end|>"]


def test_the_plain_default_ends_with_the_models_own_eos(tokens: Tokens, tmp_path: Path) -> None:
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


def test_ids_and_marks_are_those_of_transformers(tiny_llama: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tiny_llama)
    messages = (QUESTION, ANSWER, AGAIN, LAST)
    renderer = Renderer.from_folder(tiny_llama, chat_template=each(MARKED) + PROMPT)
    ids, weights = renderer.rows([Example("r", messages=messages)], sequence_len=None).row(0)
    expected = theirs.apply_chat_template(
        list(messages),
        chat_template=each(MARKED) + PROMPT,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    assert ids.tolist() == expected["input_ids"]
    assert weights.tolist() == expected["assistant_masks"]
    prompt = theirs.apply_chat_template([QUESTION], add_generation_prompt=True)["input_ids"]
    assert Renderer.from_folder(tiny_llama).prompt([QUESTION]) == prompt
