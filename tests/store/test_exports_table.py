"""What was made of models, and what was measured of it."""

from __future__ import annotations

from pathlib import Path

from luthier.store import Home, exports


def test_the_newest_of_the_same_bytes_is_found(home: Home) -> None:
    assert exports.newest(home, "tickets@3", "gguf-q8_0", "ab") is None
    made = {"model": "tickets@3", "format": "gguf-q8_0", "path": Path("/x")}
    exports.add(home, **made, sha256="ab", measured={"share": 0.5})
    later = exports.add(home, **made, sha256="ab", measured={"share": 0.9})
    exports.add(home, **made, sha256="cd", measured=None)
    assert exports.newest(home, "tickets@3", "gguf-q8_0", "ab") == later
    assert exports.newest(home, "tickets@3", "ollama", "ab") is None
    found = exports.newest(home, "tickets@3", "gguf-q8_0", "cd")
    assert found is not None
    assert found.measured is None
