"""The recipes of the project run as they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from works import Events, ready_of, work_of

from luthier.jobs.check import check
from luthier.jobs.document import scores_part, verdict_part
from luthier.jobs.fit import fit
from luthier.jobs.judge import judge
from luthier.jobs.prepare import Ready
from luthier.jobs.run import run
from luthier.models.packaged import PACKAGED
from luthier.recipe import Adapter, load
from luthier.registry import versions
from luthier.store import Home

ROOT = Path(__file__).parents[1]
RECIPES = {
    str(path.relative_to(ROOT)): path for path in sorted([*ROOT.glob("recipes/*"), *ROOT.glob("examples/**/*.yaml")])
}
ROWS = {"train": 619, "test": 200}
"""Of the tickets: lines of the two files, before any is dropped."""
SMALL = ("train.max_steps=2", "train.batch_size=4", "evaluate.max_rows=6", "machine.threads=1", "machine.memory=6GB")


ONCE = ("splits.validation=0.02", "train.eval_steps=2")
"""For real models: few validation rows, and one look at them."""
SHORT = ("evaluate.max_new_tokens=8", "evaluate.forgetting=false")
WHOLE = "recipes/chat_lora.yaml"
"""The recipe whose real model writes whole answers and is asked what it forgot."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("recipes"))


def made_ready(name: str, home: Home, llama: Path, *overrides: str) -> Ready:
    """With the tiny model in place of one that must be converted first."""
    if load(RECIPES[name]).recipe.load_in_4bit:
        pytest.importorskip("bitsandbytes", reason="needs luthier[bnb]")
    converted = PACKAGED[load(RECIPES[name]).recipe.base_model].inside.endswith(".gguf")
    return ready_of(RECIPES[name], home, *overrides, *(replaced(name, llama) if converted else []))


def replaced(name: str, model: Path | str) -> list[str]:
    """Overrides that put `model` in the place of every model that a recipe names."""
    recipe = load(RECIPES[name]).recipe
    teacher = [f"objective.teacher={model}"] if recipe.objective.teacher else []
    blocks = [] if recipe.adapter.num_layers == "all" else ["adapter.num_layers=1"]
    return [f"base_model={model}", *teacher, *blocks]


def few_earlier(name: str, folder: Path) -> list[str]:
    """Overrides that leave 16 rows of each source of earlier data: EWC takes the gradient of each by itself."""
    found = []
    for number, entry in enumerate(load(RECIPES[name]).recipe.data):
        if entry.split == "earlier":
            rows = (RECIPES[name].parent / entry.path).read_text().splitlines(keepends=True)[:16]
            (folder / f"{number}.jsonl").write_text("".join(rows))
            found.append(f"data.{number}.path={folder / f'{number}.jsonl'}")
    return found


def test_there_are_recipes_for_each_kind_of_adapter() -> None:
    used = {load(path).recipe.adapter.type for name, path in RECIPES.items() if name.startswith("recipes/")}
    assert used == set(get_args(Adapter.model_fields["type"].annotation))
    assert {load(path).recipe.adapter.use_dora for path in RECIPES.values()} == {True, False}
    assert {path.suffix for path in RECIPES.values()} == {".yaml"}
    assert len({load(path).recipe.name for path in RECIPES.values()}) == len(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_explained_and_states_its_licences(name: str) -> None:
    recipe = load(RECIPES[name]).recipe
    assert re.match(r"# [A-Z].+\.\n", RECIPES[name].read_text())
    assert recipe.base_model in PACKAGED
    assert all(entry.licence for entry in recipe.data)
    assert not any(Path(entry.path).is_absolute() for entry in recipe.data)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_could_run(name: str, home: Home, tiny_llama: Path) -> None:
    ready = made_ready(name, home, tiny_llama)
    assert "auto" not in str(ready.recipe.to_plain())
    assert {source.path.name: source.rows for source in ready.data.sources} == {
        source.path.name: ROWS["test" if "test" in source.path.name else "train"] for source in ready.data.sources
    }
    assert {"train", "validation", "test"} <= ready.data.splits.keys()
    assert all(len(rows) > 40 for rows in ready.data.splits.values())
    assert all(part.report.truncated == part.report.zero_coverage == () for part in ready.rendered.values())


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("recipes/")])
def test_a_recipe_runs_to_its_verdict(name: str, home: Home, tiny_llama: Path, tiny_bert: Path) -> None:
    """On the tiny models, with two steps and six test rows."""
    model = tiny_bert if "queue" in name else tiny_llama
    short = ("evaluate.max_new_tokens=4",) if "chat" in name else ()
    ready = made_ready(name, home, model, *replaced(name, model), *SMALL, *short)
    work = work_of(ready, home, Events())
    result = fit(work, lambda: None)
    part = scores_part(work, judge(work))
    assert result["steps"] == 2
    assert (work.folder / "adapter" / "luthier.json").exists()
    assert part["solvers"].keys() | part["skipped_baselines"].keys() == {"base", "few_shot", "classic", "tuned"}
    assert part["tuned"][part["metric"]]["n"] == 6
    assert verdict_part(work, part, {})["verdict"] in ("ship", "hold")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("recipes/")])
def test_a_recipe_runs_on_its_own_model(name: str, home: Home, tmp_path: Path) -> None:
    """From the check to the report, in a process of its own; only a missing teacher is replaced, by the base."""
    recipe = load(RECIPES[name]).recipe
    if recipe.load_in_4bit:
        pytest.importorskip("bitsandbytes", reason="needs luthier[bnb]")
    short = () if name == WHOLE else SHORT
    overrides = (*SMALL, *ONCE, *short, *few_earlier(name, tmp_path), *replaced(name, recipe.base_model))
    checked = check(RECIPES[name], overrides, home)
    document = run(RECIPES[name], overrides, home)
    assert (document["status"], checked["forecast"]["steps"], document["actual"]["steps"]) == ("succeeded", 2, 2)
    assert document["verdict"] in ("ship", "hold")
    assert bool(document["forgetting"]) == (name == WHOLE)
    assert versions.get(home, document["model"]).run_id == document["run_id"]
    assert document["run_id"] in Path(document["report"]).read_text(encoding="utf-8")
