"""Times and amounts of memory, written the way people write them."""

from __future__ import annotations

import re

from luthier.errors import RecipeError

TIME = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]i?B)", re.IGNORECASE)
BYTES = {
    f"{prefix}{end}": base**power for end, base in (("b", 1000), ("ib", 1024)) for power, prefix in enumerate("kmgt", 1)
}


def parse_time(text: str) -> int:
    """Seconds in `90s`, `30m`, `2h` or `1h30m`; RecipeError for anything else, and for no time at all."""
    match = TIME.fullmatch(text.strip().lower())
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = hours * 3600 + minutes * 60 + seconds
    if not total:
        raise RecipeError(f"`{text}` is not a time", mend="Write it as `90s`, `30m`, `2h` or `1h30m`")
    return total


def parse_memory(text: str) -> int:
    """Bytes in `8GB`, `512MB` (powers of 1000) or `8GiB` (powers of 1024); RecipeError for anything else."""
    match = MEMORY.fullmatch(text.strip())
    amount = int(float(match[1]) * BYTES[match[2].lower()]) if match else 0
    if not amount:
        raise RecipeError(f"`{text}` is not an amount of memory", mend="Write it as `8GB` or `512MB`")
    return amount


def format_memory(amount: int) -> str:
    """Bytes as text that `parse_memory` reads, rounded down to whole megabytes (at least one)."""
    return f"{max(1, amount // 1_000_000)}MB"
