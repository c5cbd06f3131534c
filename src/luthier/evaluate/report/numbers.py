"""Numbers as people read them; what is no finite number becomes a dash."""

from __future__ import annotations

from typing import Any

from luthier.evaluate.report.reading import finite

DASH = "–"
MINUS = "\u2212"
THIN = "\u202f"


def fixed(value: Any, decimals: int, signed: bool = False) -> str:
    """A decimal number with a true minus sign, groups of three, and no negative zero."""
    number = finite(value)
    if number is None:
        return DASH
    text = f"{abs(number):,.{decimals}f}"
    rounds_to_zero = not text.strip("0.")
    if number < 0 and not rounds_to_zero:
        return MINUS + text
    return f"+{text}" if signed and not rounds_to_zero else text


def count(value: Any) -> str:
    return fixed(value, 0)


def share(value: Any, decimals: int = 1, signed: bool = False) -> str:
    """A share between 0 and 1 as a percentage."""
    number = finite(value)
    return DASH if number is None else f"{fixed(number * 100, decimals, signed)}{THIN}%"


def size(value: Any) -> str:
    """Bytes as GiB, as MiB below one GiB, or as KiB below one MiB."""
    number = finite(value)
    if number is None:
        return DASH
    if number >= 2**30:
        return f"{fixed(number / 2**30, 2)} GiB"
    return f"{fixed(number / 2**20, 0)} MiB" if number >= 2**20 else f"{fixed(number / 2**10, 0)} KiB"


def duration(value: Any) -> str:
    """Seconds as `0.4 s`, `41 s`, `12 min 5 s` or `2 h 10 min`."""
    number = finite(value)
    if number is None:
        return DASH
    if number < 60:
        return f"{fixed(number, 1 if number < 10 else 0)} s"
    minutes, seconds = divmod(round(number), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def p_value(value: Any) -> str:
    number = finite(value)
    if number is None:
        return DASH
    return "p\u00a0<\u00a00.001" if number < 0.001 else f"p\u00a0=\u00a0{number:.{2 if number >= 0.1 else 3}f}"


def money(value: Any) -> str:
    """An amount without a currency: the recipe names none."""
    number = finite(value)
    return DASH if number is None else fixed(number, 2 if number >= 0.1 else 4)


def plain_tick(value: float) -> str:
    """An axis label: as many decimals as the round number needs."""
    return f"{value:g}".replace("-", MINUS)


def significant(value: Any) -> str:
    """Two significant digits in plain decimals, such as `0.000023`."""
    number = finite(value)
    if number is None:
        return DASH
    return f"{float(f'{number:.2g}'):.12f}".rstrip("0").rstrip(".").replace("-", MINUS)


def setting(value: Any) -> str:
    """A recipe value as it would be written in YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(setting, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {setting(item)}' for key, item in value.items())}}}"
    return f"{value:g}" if isinstance(value, float) else str(value)
