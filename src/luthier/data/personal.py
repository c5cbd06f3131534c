"""What looks personal or secret in a text: addresses, numbers of telephones and cards, keys. Names are not found."""

from __future__ import annotations

import re
from collections.abc import Iterator

EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]+@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
SECRET = re.compile(
    r"\b(?:sk|pk|rk|lk|hf|ghp|gho|ghs|glpat|xox[abprs])[-_][A-Za-z0-9_-]{16,}"
    r"|\bAKIA[A-Z0-9]{16}\b"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?i:\bbearer) [A-Za-z0-9._~+/-]{16,}",
    re.DOTALL,
)
CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
PHONE = re.compile(
    r"(?<![\w.])(?:\+\d{1,3}[ ./-]?)?(?:\(\d{1,5}\)[ ./-]?)?\d{2,5}(?:[ ./-]\d{2,8}){1,5}(?![\w.]?\d)"
    r"|(?<!\w)\+\d{8,15}(?!\d)"
)
NO_NUMBER = re.compile(r"[^\d ()+./-]")
PIECE = 16_384
DATE = re.compile(r"\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2\d{2,4}")


def without_personal(text: str) -> str:
    """The text with `[key]`, `[email]`, `[card]` and `[phone]` in place of these; cards have a right checksum."""
    text = SECRET.sub("[key]", text)
    text = EMAIL.sub("[email]", text)
    return "".join(map(_without_numbers, _pieces(text)))


def _pieces(text: str) -> Iterator[str]:
    """The text in parts that each take some milliseconds, cut where no number is: a search lets nothing else run."""
    start = 0
    while len(text) - start > PIECE:
        cut = NO_NUMBER.search(text, start + PIECE, start + 2 * PIECE)
        end = cut.end() if cut else start + 2 * PIECE
        yield text[start:end]
        start = end
    yield text[start:]


def _without_numbers(text: str) -> str:
    text = CARD.sub(lambda found: "[card]" if _is_card(found[0]) else found[0], text)
    return PHONE.sub(lambda found: "[phone]" if _is_phone(found[0]) else found[0], text)


def _is_card(text: str) -> bool:
    """By Luhn's checksum: every second digit from the right counts double, as the sum of its digits."""
    digits = [int(digit) for digit in text if digit.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and (sum(doubled) + sum(digits[-1::-2])) % 10 == 0 and any(digits)


def _is_phone(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    return 9 - 2 * text.startswith("+") <= digits <= 15 and not DATE.fullmatch(text.strip())
