"""What a GGUF file says about itself before its tensors, read in a fraction of a second.

The layout is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3, little-endian.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from luthier.errors import ModelError

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Type of a value → how `struct` calls it."""
TEXT, ARRAY = 8, 9


def read_fields(path: Path) -> dict[str, Any]:
    """Every key and its value: a number, a text, or a list of them. Raises ModelError for any other file."""
    with path.open("rb") as file:
        try:
            if file.read(4) != b"GGUF" or _number(file, "I") not in (2, 3):
                raise ValueError("it does not begin as GGUF of version 2 or 3 does")
            file.seek(8, 1)  # how many tensors
            return {_text(file): _value(file, _number(file, "I")) for _ in range(_number(file, "Q"))}
        except (struct.error, ValueError, KeyError) as error:
            raise ModelError(f"cannot be read as GGUF ({error})", str(path), "Copy the file again") from error


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == TEXT:
        return _text(file)
    if kind != ARRAY:
        return _number(file, NUMBERS[kind])
    inner, length = _number(file, "I"), _number(file, "Q")
    if inner in (TEXT, ARRAY):
        return [_value(file, inner) for _ in range(length)]
    form = f"<{length}{NUMBERS[inner]}"
    return list(struct.unpack(form, file.read(struct.calcsize(form))))


def _text(file: BinaryIO) -> str:
    return file.read(_number(file, "Q")).decode()


def _number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))[0]
