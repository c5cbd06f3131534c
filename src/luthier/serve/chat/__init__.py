"""Chat completions without HTTP: a request body in, and a `chat.completion` or its chunks out."""

from __future__ import annotations

from luthier.serve.chat.answer import answer, stream
from luthier.serve.chat.key import cache_key
from luthier.serve.chat.parse import parse
from luthier.serve.chat.request import ChatRequest

__all__ = ["ChatRequest", "answer", "cache_key", "parse", "stream"]
