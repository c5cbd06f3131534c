"""From a route to an engine: which files a model in service is made of, and which engine reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from luthier.data.render import Renderer
from luthier.errors import MissingExtra, ModelError
from luthier.jobs.llama_files import LlamaFiles, known_llama
from luthier.jobs.machine import has_nvidia_driver
from luthier.jobs.prepare import template_of
from luthier.jobs.workspace import read_plan
from luthier.models.export.architecture import ARCHITECTURES
from luthier.models.families import Kind, context_length, kind_of, packs
from luthier.models.locate import locate
from luthier.models.packaged import PACKAGED, packaged_texts, published_gguf
from luthier.recipe import HEADED, DataEntry, Recipe
from luthier.registry import versions
from luthier.serve.deck import Deck, Found
from luthier.serve.engines.remote import Remote
from luthier.serve.engines.table import ENGINES
from luthier.serve.routing import Bases, Route, Routes
from luthier.store import Home, runs

EngineName = Literal["torch", "llama_cpp"]
MEMORY_SHARE = 0.6
"""Of the machine's memory, what engines may hold before idle ones are closed."""
Note = Callable[[str], None]


@dataclass(frozen=True)
class Texts:
    """What there is to know of a base model without its weights."""

    folder: Path
    kind: Kind
    config: Mapping[str, Any]


def open_deck(home: Home, *, more: Iterable[str], engine: EngineName | None, waiting: int, note: Note) -> Deck:
    """The models of a home, ready to be asked for; no engine is opened yet.

    `more` names base models beside those that are installed or were tuned; `engine` is forced where it is given.
    """
    import psutil

    def look(route: Route) -> Found:
        return find(home, route, engine, note)

    memory = int(MEMORY_SHARE * psutil.virtual_memory().total)
    return Deck(Routes(home, bases_of(home, more)), look, Remote.open, waiting=waiting, memory_bytes=memory)


def bases_of(home: Home, more: Iterable[str]) -> Bases:
    """The base models that clients may ask for: those that are installed, those of registered versions, and `more`.

    No others: a client must not make the server read a folder of its choice.
    """

    def bases() -> list[str]:
        packaged = [name for name, model in PACKAGED.items() if find_spec(model.inside.partition("/")[0])]
        used = [str(version.base["name"]) for version in versions.list_versions(home)]
        return list(dict.fromkeys([*packaged, *more, *used]))

    return bases


def find(home: Home, route: Route, forced: EngineName | None, note: Note) -> Found:
    """What it takes to answer on a route. Converts what was never converted.

    Raises ModelError where the files are not there, cannot be served, or `forced` cannot serve them.
    """
    version = route.version
    plan = None if version is None else read_plan(runs.run_folder(home, version.run_id))
    recipe = plan.settings if plan else Recipe(base_model=route.ref, data=(DataEntry(path="none"),))
    if plan is not None and plan.settings.objective.type in HEADED:
        what = f"`{route.ref}` was trained to {plan.settings.objective.type}, and neither writes text nor makes vectors"
        raise ModelError(what, mend="`luthier evaluate` answers rows with it")
    texts = texts_of(home, recipe.base_model)
    engine = forced or _chosen(home, route, recipe, texts, note)
    spec, adapter = SPECS[engine](home, route, recipe, texts, note)
    created = version.created_at if version else None
    return Found(
        base_model=recipe.base_model, kind=texts.kind, renderer=_renderer(texts.folder, template_of(recipe)),
        context_length=context_length(texts.config, str(texts.folder)) - recipe.adapter.virtual_tokens,
        spec={"engine": engine, "name": recipe.base_model, **spec}, adapter=adapter,
        run_id=version.run_id if version else None,
        created=int(datetime.fromisoformat(created).timestamp()) if created else 0,
    )  # fmt: skip


def texts_of(home: Home, base: str) -> Texts:
    """Tokenizer, template and settings of a base model; a packaged one is not converted for them."""
    cache = home.cache("models")
    if base.lower() in PACKAGED:
        folder = packaged_texts(base.lower(), cache)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return Texts(folder, kind_of(config, str(folder)), config)
    files = locate(base, cache)
    return Texts(files.folder, files.kind, files.config)


def tuned_folder(home: Home, route: Route) -> Path | None:
    """The `adapter` folder of a version, taken out of the blobs; None for a base model."""
    if route.version is None:
        return None
    target = home.cache("versions") / route.version.adapter_sha256 / "adapter"
    if not target.exists():
        home.blobs.get_tree(route.version.adapter_sha256, target)
    return target


def beside_others(recipe: Recipe, texts: Texts) -> bool:
    """Whether a version is a plain LoRA adapter, of which an engine holds many on one base."""
    adapter, objective = recipe.adapter, recipe.objective
    plain = adapter.type == "lora" and not adapter.use_dora and not (recipe.load_in_4bit or recipe.load_in_8bit)
    headless = not objective.beside or objective.beside_type != "classify"
    return plain and headless and packs(str(texts.config["model_type"]))


Spec = tuple[dict[str, Any], tuple[str, Path] | None]


def _torch(home: Home, route: Route, recipe: Recipe, texts: Texts, note: Note) -> Spec:
    base, folder = locate(recipe.base_model, home.cache("models"), note), tuned_folder(home, route)
    spec = {"base": str(base.folder)}
    if folder is None or route.version is None:
        return spec, None
    if beside_others(recipe, texts):
        return spec, (route.version.adapter_sha256, folder)
    return {**spec, "tuned": str(folder)}, None


def _llama(home: Home, route: Route, recipe: Recipe, texts: Texts, note: Note) -> Spec:
    if find_spec("xllamacpp") is None:
        raise MissingExtra("the engine llama_cpp needs xllamacpp", mend="pip install 'luthier[serve]'")
    files, tokenizer = _llama_files(home, route, recipe), str(texts.folder)
    if files is not None:
        folder = tuned_folder(home, route) if files.adapter else None
        adapter = (route.version.adapter_sha256, folder) if folder and route.version else None
        return {"base": str(files.gguf), "tokenizer": tokenizer}, adapter
    published = published_gguf(recipe.base_model) if route.version is None else None
    if published is None:
        raise ModelError(f"`{route.ref}` was not written for llama.cpp yet", mend=f"luthier export {route.ref}")
    return {"base": str(published), "tokenizer": tokenizer}, None


SPECS: dict[EngineName, Callable[[Home, Route, Recipe, Texts, Note], Spec]] = {"torch": _torch, "llama_cpp": _llama}


def _chosen(home: Home, route: Route, recipe: Recipe, texts: Texts, note: Note) -> EngineName:
    """llama.cpp where an export found that it says what the model says, and there is no GPU, which it does not use."""
    if "llama_cpp" not in ENGINES or find_spec("xllamacpp") is None or has_nvidia_driver():
        return "torch"
    files = _llama_files(home, route, recipe)
    if files is None and texts.config["model_type"] in ARCHITECTURES:
        why = "whether llama.cpp may, faster for few clients, says"
        note(f"{route.ref} is served by torch; {why}: luthier export {route.ref}")
    return "llama_cpp" if files is not None and files.agreement.ok else "torch"


def _llama_files(home: Home, route: Route, recipe: Recipe) -> LlamaFiles | None:
    """What was made for llama.cpp of a route's model, as it is now: versions and packaged models do not change."""
    fixed = route.version is not None or recipe.base_model.lower() in PACKAGED
    made_from = None if fixed else locate(recipe.base_model, home.cache("models")).sha256
    return known_llama(home, route.ref.lower() if route.version is None and fixed else route.ref, made_from)


@lru_cache(maxsize=16)
def _renderer(folder: Path, template: str | None) -> Renderer:
    """Versions of one base share it: a tokenizer takes tens of megabytes."""
    return Renderer.from_folder(folder, template)
