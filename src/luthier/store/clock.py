"""The time as it is written in rows."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """This moment in UTC, to the microsecond, as an ISO 8601 text of fixed length: texts sort as times do."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def unix(at: str) -> int:
    """Whole seconds since 1970 of such a text."""
    return int(datetime.fromisoformat(at).timestamp())
