"""What an engine's process finds around it."""

from __future__ import annotations

import pytest

from luthier.serve.engines.child import surroundings


def test_threads_of_llama_cpp_do_not_spin_unless_the_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("LUTHIER_HOME", "/somewhere")
    assert surroundings({"engine": "llama_cpp"})["OMP_WAIT_POLICY"] == "passive"
    assert surroundings({"engine": "llama_cpp"})["LUTHIER_HOME"] == "/somewhere"
    assert "OMP_WAIT_POLICY" not in surroundings({"engine": "torch"})
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert surroundings({"engine": "llama_cpp"})["OMP_WAIT_POLICY"] == "active"
