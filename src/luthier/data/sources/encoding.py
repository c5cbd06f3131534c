"""Bytes to text: UTF-8, strictly. Anything else is refused with the place and the likely encoding."""

from __future__ import annotations

import codecs
import gzip
import shlex
import zlib
from pathlib import Path

from luthier.errors import DataError

ICONV_NAMES = {"cp1252": "WINDOWS-1252", "mac_roman": "MACINTOSH", "utf-16": "UTF-16", "utf-32": "UTF-32"}
"""The encodings that are recognised, as Python and as `iconv` call them."""

PACKED = {
    b"\x1f\x8b": ("a gzip file", "Give it a name that ends in .gz"),
    b"PK\x03\x04": ("a zip archive or an Excel file", "Unpack it, or save the sheet as CSV"),
    b"PAR1": ("a Parquet file", "Give it a name that ends in .parquet"),
}
"""How other kinds of files begin, and what to do with them."""

TYPOGRAPHIC = frozenset("‘’“”–—…•€£°©®™«»¡¿")


def read_text(path: Path, name: str) -> tuple[str, tuple[str, ...]]:
    """The text of a file (unpacked where its name ends in `.gz`), and notes about what was accepted.

    A byte order mark is removed and noted. Raises `DataError` where the bytes are not UTF-8, or hold a zero
    byte.
    """
    data = read_bytes(path, name)
    _refuse_packed(data, name)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data:
        raise _refuse(path, name, data, max(0, data.find(b"\0")))
    marked = data.startswith(codecs.BOM_UTF8)
    try:
        text = data.decode("utf-8-sig" if marked else "utf-8")
    except UnicodeDecodeError as error:
        start = error.start + (len(codecs.BOM_UTF8) if marked else 0)
        raise _refuse(path, name, data, start) from None
    return text, (f"{name} starts with a byte order mark, which was removed",) if marked else ()


def _refuse_packed(data: bytes, name: str) -> None:
    """Raises `DataError` for a file of another kind under a name that says text."""
    for begin, (kind, mend) in PACKED.items():
        if data.startswith(begin):
            raise DataError(f"this is {kind}, not text", name, mend)


def read_bytes(path: Path, name: str) -> bytes:
    data = path.read_bytes()
    if not path.name.endswith(".gz"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"not a whole gzip file ({error})", name, "Compress or download it again") from None


def likely_encoding(data: bytes) -> str | None:
    """The Python name of the encoding in which the bytes make sense as Western text; None if in none.

    A byte above 127 is plausible if it decodes to a letter that touches a plain one, or to a typographic
    sign.
    """
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or data[:4096].count(0) > len(data[:4096]) // 4:
        return "utf-16"
    if b"\0" in data:
        return None
    shares = {name: _plausible(data, name) for name in ("cp1252", "mac_roman")}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] > 0.5 else None


def _plausible(data: bytes, encoding: str) -> float:
    text = data.decode(encoding, errors="replace")
    foreign = [index for index, sign in enumerate(text) if ord(sign) > 127]
    good = sum(_fits(text, index) for index in foreign)
    return good / len(foreign)


def _fits(text: str, index: int) -> bool:
    before, sign, after = text[max(0, index - 1) : index], text[index], text[index + 1 : index + 2]
    if sign in TYPOGRAPHIC:
        return True
    in_word = any(near.isascii() and near.isalpha() for near in (before, after))
    return sign.isalpha() and in_word and not (sign.isupper() and before.islower())


def _refuse(path: Path, name: str, data: bytes, start: int) -> DataError:
    line = data.count(b"\n", 0, start) + 1
    column = start - data.rfind(b"\n", 0, start)
    where = f"{name}: line {line}, byte {column} of the line (byte {start + 1} of the file)"
    guess = likely_encoding(data)
    if guess is None and data[start] == 0:
        return DataError("a zero byte, which no text holds", where, "Remove it, or export the file again")
    if guess is None:
        return DataError(f"not UTF-8 text (0x{data[start]:02x})", where, "Save the file as UTF-8")
    what = f"not UTF-8 text (0x{data[start]:02x}); it looks like {guess}"
    return DataError(what, where, f"Convert it: {_command(path, ICONV_NAMES[guess])}")


def _command(path: Path, encoding: str) -> str:
    plain = path.name.removesuffix(".gz")
    stem, dot, suffix = plain.rpartition(".")
    source, target = shlex.quote(str(path)), shlex.quote(f"{stem}-utf8{dot}{suffix}")
    if plain != path.name:
        return f"gunzip -c {source} | iconv -f {encoding} -t UTF-8 > {target}"
    return f"iconv -f {encoding} -t UTF-8 {source} > {target}"
