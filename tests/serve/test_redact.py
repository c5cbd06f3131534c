"""What traces leave out."""

from __future__ import annotations

import time

import pytest

from luthier.serve.redact import redact


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("write to anna.b+x@mail.example.co.uk, please", "write to [email], please"),
        ("mine is 4111 1111 1111 1111.", "mine is [card]."),
        ("4111-1111-1111-1111", "[card]"),
        ("378282246310005", "[card]"),
        ("4111 1111 1111 1112", "4111 1111 1111 1112"),  # the checksum is wrong
        ("order 4111111111111112", "order 4111111111111112"),
        ("call +49 30 901820 or (030) 90 18 20 99", "call [phone] or [phone]"),
        ("call +493090182012", "call [phone]"),
        ("ring 555-123-4567 now", "ring [phone] now"),
        ("between 2024-05-17 and 17.05.2024", "between 2024-05-17 and 17.05.2024"),
        ("version 1.2.3, 12 of 345", "version 1.2.3, 12 of 345"),
        ("pi is 3.14159 26535", "pi is 3.14159 26535"),
        ("sk-abcdefghijklmnop1234 is a key", "[key] is a key"),
        ("lk-AAAAAAAAAAAAAAAAAAAAAAAA", "[key]"),
        ("AKIAIOSFODNN7EXAMPLE", "[key]"),
        ("Authorization: Bearer abcdef0123456789xyz", "Authorization: [key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "[key]"),
        ("risk-assessment-for-everybody", "risk-assessment-for-everybody"),
        ("a@b", "a@b"),
    ],
)
def test_patterns(text: str, left: str) -> None:
    assert redact({"content": text}, "patterns") == {"content": left}


CHAT = {
    "model": "tickets",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "my mail is a@b.example"}]}],
    "temperature": 0.5,
    "choices": [{"logprobs": {"content": [{"token": "a"}]}, "finish_reason": "stop"}],
    "metadata": {"mail": "a@b.example"},
}


def test_content_goes_and_the_shape_stays() -> None:
    assert redact(CHAT, "content") == {
        "model": "tickets",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "[22 characters]"}]}],
        "temperature": 0.5,
        "choices": [{"finish_reason": "stop"}],
        "metadata": {"mail": "[11 characters]"},
    }


def test_log_probabilities_spell_what_patterns_took_out() -> None:
    found = redact(CHAT, "patterns")
    assert "logprobs" not in found["choices"][0]
    assert found["metadata"] == {"mail": "[email]"}
    assert redact(CHAT, "off") is CHAT


def test_keys_of_objects_are_texts_too() -> None:
    assert redact({"a@b.example": 1}, "patterns") == {"[email]": 1}


@pytest.mark.parametrize(
    "text", ["a" * 10**5, "1" * 10**5, "1 " * 10**5, "a." * 10**5, "@a." * 10**5, "+1 (1) " * 10**5]
)
def test_no_text_takes_for_ever(text: str) -> None:
    begun = time.process_time()
    redact(text, "patterns")
    assert time.process_time() - begun < 1


def test_long_texts_are_searched_to_their_end() -> None:
    text = "my card is 4111 1111 1111 1111, call 555-123-4567. " * 2000
    assert redact(text, "patterns") == "my card is [card], call [phone]. " * 2000
