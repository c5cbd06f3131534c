"""A base model in other formats, measured, and what then answers in service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.app import main
from luthier.errors import ModelError, StoreError
from luthier.jobs import deploy, llama
from luthier.jobs.export import export
from luthier.jobs.reporting import Silent
from luthier.serve.routing import Route
from luthier.store import Home


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"ask {n}", "completion": f"say {n % 3}"} for n in range(6)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "PLACES", 3)
    monkeypatch.setattr(llama, "LONGEST", 48)
    monkeypatch.setattr(llama, "TEXTS", 4)
    monkeypatch.setattr(llama, "QUESTIONS", 0)


def made(model: Path, home: Home, *formats: str, **more: Any) -> dict[str, Any]:
    return export(str(model), formats, home, Silent(), **more)


def test_an_export_is_written_measured_and_then_known(
    home: Home, tiny_llama: Path, rows: Path, few_places: None
) -> None:
    first = made(tiny_llama, home, "gguf-f16", "safetensors", data=rows)
    gguf, whole = first["exports"]
    assert gguf["bytes"] > 0
    assert set(gguf["files"]) == {"model.gguf"}
    assert (gguf["metric"], gguf["delta"]["n"]) == ("exact_match", 6)
    assert gguf["verdict"] in ("ship", "hold")
    assert whole["delta"]["value"] == 0
    assert whole["tokens_per_second"] > 0
    again = made(tiny_llama, home, "gguf-f16", "safetensors", data=rows)
    assert again["exports"] == first["exports"]
    assert again["served"] == first["served"]


def test_llama_cpp_serves_what_it_was_seen_to_say_alike(home: Home, tiny_llama: Path, few_places: None) -> None:
    route, told = Route(str(tiny_llama), None), list[str]()
    assert deploy.find(home, route, None, told.append).spec["engine"] == "torch"
    assert told == [f"{tiny_llama} is served by torch; whether llama.cpp may, faster for few clients, says: "
                    f"luthier export {tiny_llama}"]  # fmt: skip
    with pytest.raises(ModelError, match="luthier export"):
        deploy.find(home, route, "llama_cpp", print)
    served = made(tiny_llama, home, "gguf-f16")["served"]
    assert served["engine"] == "llama_cpp"
    assert served["share"] >= served["tolerance"]
    assert served["places"] == 12
    spec = deploy.find(home, route, None, print).spec
    assert (spec["engine"], spec["base"], spec["tokenizer"]) == ("llama_cpp", served["gguf"], str(tiny_llama))
    Path(served["gguf"]).unlink()
    assert deploy.find(home, route, None, print).spec["engine"] == "torch"


def test_an_engine_that_says_otherwise_is_not_chosen(
    home: Home, tiny_llama: Path, few_places: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = llama.likeliest
    monkeypatch.setattr(llama, "likeliest", lambda *a: [(id + 1, value) for id, value in real(*a)])
    served = made(tiny_llama, home, "gguf-f16")["served"]
    assert (served["engine"], served["share"]) == ("torch", 0)
    route = Route(str(tiny_llama), None)
    assert deploy.find(home, route, None, print).spec["engine"] == "torch"
    assert deploy.find(home, route, "llama_cpp", print).spec["base"] == served["gguf"]


def test_what_is_asked_for_wrongly_writes_nothing(home: Home, tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there are safetensors, adapter"):
        made(tiny_llama, home, "safetensors", "onnx", to=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out" / "safetensors").mkdir(parents=True)
    (tmp_path / "out" / "safetensors" / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="--to"):
        made(tiny_llama, home, "safetensors", to=tmp_path / "out")
    assert (tmp_path / "out" / "safetensors" / "thesis.txt").read_text() == "years of work"


def test_the_verb(
    home: Home, tiny_llama: Path, rows: Path, few_places: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(tiny_llama), "--format", "gguf-f16", "--data", str(rows)]) == 0
    said = capsys.readouterr().out
    assert "tokens/s" in said
    assert "gguf-f16: On exact_match the export is" in said
    assert "llama.cpp, with weights in q8_0" in said
    assert main(["export", str(tiny_llama), "--format", "adapter"]) == 2
    assert "without an adapter" in capsys.readouterr().err
    assert main(["export", "tickets@9"]) == 2
    assert "tickets@9" in capsys.readouterr().err
