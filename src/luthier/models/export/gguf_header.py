"""What a GGUF file says of itself: its metadata, read without its weights (github.com/ggml-org/ggml, docs/gguf.md)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from luthier.errors import ModelError

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""GGUF's number of a type → its letter in `struct`."""
STRING, ARRAY = 8, 9


def read_header(path: Path) -> dict[str, Any]:
    """All metadata by key; arrays are lists. Raises ModelError where the file is no GGUF of version 2 or 3."""
    try:
        with path.open("rb") as file:
            magic, version, _, count = struct.unpack("<4sIQQ", file.read(24))
            if magic == b"GGUF" and version in (2, 3):
                return dict(_pair(file) for _ in range(count))
    except (OSError, struct.error, UnicodeDecodeError, KeyError) as error:
        raise ModelError(f"cannot be read as GGUF ({error})", str(path), "Export or download it again") from error
    raise ModelError("is not a GGUF file of version 2 or 3", str(path), "Export or download it again")


def _pair(file: BinaryIO) -> tuple[str, Any]:
    return _text(file), _value(file, _number(file, "I"))


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return _text(file)
    if kind != ARRAY:
        return _number(file, NUMBERS[kind])
    kind, count = _number(file, "I"), _number(file, "Q")
    if kind in NUMBERS:
        form = f"<{count}{NUMBERS[kind]}"
        return list(struct.unpack(form, file.read(struct.calcsize(form))))
    return [_value(file, kind) for _ in range(count)]


def _text(file: BinaryIO) -> str:
    return file.read(_number(file, "Q")).decode("utf-8")


def _number(file: BinaryIO, letter: str) -> Any:
    return struct.unpack(f"<{letter}", file.read(struct.calcsize(f"<{letter}")))[0]
