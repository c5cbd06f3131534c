"""What a forward pass is told beside its arguments: values that each thread has for itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Value = TypeVar("Value")


@contextmanager
def told(variable: ContextVar[Value], value: Value) -> Iterator[None]:
    """Within it, in this thread alone, the variable has this value."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
