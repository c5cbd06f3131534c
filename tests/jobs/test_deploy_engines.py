"""From a route to the files and the engine that answer on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from registering import register

from luthier.errors import ModelError
from luthier.jobs import deploy
from luthier.jobs.workspace import RunPlan, write_plan
from luthier.models import packaged
from luthier.recipe import Recipe
from luthier.registry import versions
from luthier.serve.engines.table import ENGINES
from luthier.serve.routing import Route
from luthier.store import Home, runs


def tuned(home: Home, tmp_path: Path, base: Path, **recipe: Any) -> Route:
    """A registered version whose run had this recipe."""
    version = versions.get(home, register(home, tmp_path / "adapter"))
    plain = Recipe.model_validate({"base_model": str(base), "data": "rows.jsonl", **recipe}).to_plain()
    plan = RunPlan(version.run_id, plain, plain, [], "", "", [], False, "generate", {}, {}, {}, "")
    write_plan(runs.run_folder(home, version.run_id), plan)
    return Route(version.ref, version)


def find(home: Home, route: Route, engine: deploy.EngineName | None = None) -> Any:
    return deploy.find(home, route, engine, lambda text: None)


def test_a_base_model_is_its_folder(home: Home, tiny_llama: Path) -> None:
    found = find(home, Route(str(tiny_llama), None))
    assert found.spec == {"engine": "torch", "name": str(tiny_llama), "base": str(tiny_llama)}
    assert (found.kind, found.context_length, found.adapter, found.run_id) == ("decoder", 512, None, None)
    assert found.renderer.prompt("hello")


def test_plain_lora_goes_beside_others_on_its_base(home: Home, tiny_llama: Path, tmp_path: Path) -> None:
    route = tuned(home, tmp_path, tiny_llama)
    found = find(home, route)
    assert route.version is not None
    assert found.spec == find(home, Route(str(tiny_llama), None)).spec
    name, folder = found.adapter
    assert name == route.version.adapter_sha256
    assert (folder / "adapter_config.json").exists()
    assert found.run_id == route.version.run_id
    assert found.renderer is find(home, Route(str(tiny_llama), None)).renderer


@pytest.mark.parametrize(
    "recipe",
    [
        {"adapter": {"type": "lora", "use_dora": True}},
        {"adapter": "full"},
        {"adapter": "prefix"},
        {"load_in_8bit": True},
    ],
)
def test_other_kinds_have_an_engine_of_their_own(
    home: Home, tiny_llama: Path, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    found = find(home, tuned(home, tmp_path, tiny_llama, **recipe))
    assert found.adapter is None
    assert Path(found.spec["tuned"]).name == "adapter"
    virtual = 20 if recipe.get("adapter") == "prefix" else 0
    assert found.context_length == 512 - virtual


def test_the_template_of_the_recipe_writes_the_prompts(home: Home, tiny_llama: Path, tmp_path: Path) -> None:
    template = tmp_path / "own.jinja"
    template.write_text("{% for m in messages %}Q: {{ m['content'] }}\nA:{% endfor %}")
    found = find(home, tuned(home, tmp_path, tiny_llama, chat_template=str(template)))
    assert found.renderer.decode(found.renderer.prompt("hello")) == "Q: hello\nA:"


def test_what_sorts_does_not_chat(home: Home, tiny_bert: Path, tmp_path: Path) -> None:
    route = tuned(home, tmp_path, tiny_bert, objective="classify", adapter="head")
    with pytest.raises(ModelError, match=r"`tickets@1` was trained to classify.*luthier evaluate"):
        find(home, route)


def test_only_known_bases_are_served(home: Home, tiny_llama: Path, tmp_path: Path) -> None:
    register(home, tmp_path / "adapter")
    bases = list(deploy.bases_of(home, [str(tiny_llama)])())
    assert bases[-2:] == [str(tiny_llama), "tiny-llama"]
    assert set(bases[:-2]) <= set(packaged.PACKAGED)


def test_llama_cpp_cannot_be_forced_on_what_it_does_not_run(home: Home, tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match="was not written for llama"):
        find(home, Route(str(tiny_llama), None), "llama_cpp")


def test_a_packaged_gguf_is_served_as_it_is(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(packaged, "installed", lambda name: tmp_path / "model.gguf")
    monkeypatch.setitem(ENGINES, "llama_cpp", lambda spec: None)
    found = deploy.SPECS["llama_cpp"](
        home, Route("smollm2-135m-instruct", None), Recipe.model_validate({"base_model": "smollm2-135m-instruct",
        "data": "rows.jsonl"}), deploy.Texts(tmp_path, "decoder", {}), print,
    )  # fmt: skip
    assert found == ({"base": str(tmp_path / "model.gguf"), "tokenizer": str(tmp_path)}, None)
    assert packaged.published_gguf("all-minilm-l6-v2") == tmp_path / "model.gguf"
    assert packaged.published_gguf(str(tmp_path)) is None
