"""The files by which llama.cpp serves a model, as `luthier export` has made and compared them. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luthier.serve.agreement import Agreement
from luthier.store import Home, exports

SERVED = "llama_cpp"
"""What they are called among exports."""


@dataclass(frozen=True)
class LlamaFiles:
    """`gguf`, with weights `held` in such numbers, is the base where `adapter` says that what was learnt is put on it,
    else all in one."""

    gguf: Path
    held: str
    adapter: bool
    agreement: Agreement


def known_llama(home: Home, model: str, sha256: str | None = None) -> LlamaFiles | None:
    """Those of the version or base model of this name, and, where it is given, of these bytes; None where there are
    none (any more)."""
    known = exports.newest(home, model, SERVED, sha256)
    if known is None or known.measured is None or not known.path.exists():
        return None
    found = known.measured
    return LlamaFiles(known.path, found["held"], found["adapter"], Agreement(**found["agreement"]))
