"""What an engine's process finds around it."""

from __future__ import annotations

import pytest

from luthier.serve.engines.child import surroundings


def test_threads_of_llama_cpp_do_not_spin_unless_the_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("LUTHIER_HOME", "/somewhere")
    assert surroundings({"engine": "llama_cpp"})["GOMP_SPINCOUNT"] == "3000"
    assert surroundings({"engine": "llama_cpp"})["LUTHIER_HOME"] == "/somewhere"
    assert "GOMP_SPINCOUNT" not in surroundings({"engine": "torch"})
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert surroundings({"engine": "llama_cpp"})["GOMP_SPINCOUNT"] == "7"
