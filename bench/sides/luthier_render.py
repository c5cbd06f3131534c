"""Luthier's renderer on conversations, cold or from its cache. Reads a JSON job on stdin."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.machine import peak_memory
from harness.rows import digest

from luthier.data.example import Example
from luthier.data.render import Renderer, render_cached


def main() -> None:
    job = json.load(sys.stdin)
    examples = [Example(str(i), messages=tuple(chat)) for i, chat in enumerate(job["chats"])]
    renderer = Renderer.from_folder(Path(job["model"]))
    with TemporaryDirectory(dir=job["scratch"]) as folder:
        render_cached(renderer, examples if job["again"] else examples[:50], Path(folder), sequence_len=None)
        start = time.perf_counter()
        found = render_cached(renderer, examples, Path(folder), sequence_len=None)
        seconds = time.perf_counter() - start
        seen = digest((found.row(i)[0], []) for i in range(len(found)))
    print(json.dumps({"seconds": seconds, "peak_memory_bytes": peak_memory(), "digest": seen}))


if __name__ == "__main__":
    main()
