"""Everything short of training: what is found out, and what is refused before a run exists."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from works import CHATS, CLASSES, TEXTS, classes, ready_of, recipe, work_of

from luthier.errors import DataError, LuthierError, RecipeError
from luthier.jobs.check import check
from luthier.jobs.fitting_recipe import check_coverage
from luthier.jobs.prepare import data_part
from luthier.recipe import Recipe

LONG = {"prompt": "how long is the neck of a lute? " * 9, "completion": "it is as long as the answer to this"}


def test_a_recipe_of_two_lines_is_made_ready(tiny_llama: Path, home, tmp_path: Path) -> None:
    ready = ready_of(recipe(tmp_path, tiny_llama, CHATS), home)
    assert ready.recipe.objective.type == "sft"
    assert "auto" not in str(ready.recipe.to_plain())
    assert ready.files.folder == tiny_llama
    sizes = {name: len(rows) for name, rows in ready.data.splits.items()}
    assert sum(sizes.values()) == 40
    assert sizes == ready.facts.data.rows
    assert {name: len(part) for name, part in ready.rendered.items()} == sizes
    assert Path(ready.source.data[0].path).is_absolute()
    assert ready.forecast.steps > 0


def test_the_facts_are_those_of_the_rows(tiny_llama: Path, home, tmp_path: Path) -> None:
    ready = ready_of(recipe(tmp_path, tiny_llama, CHATS), home)
    lengths = [length for part in ready.rendered.values() for length in part.lengths.tolist()]
    facts = ready.facts
    assert (facts.data.longest_tokens, facts.data.task, facts.data.types) == (
        max(lengths),
        "generate",
        ("prompt_completion",),
    )
    assert facts.data.mean_tokens == pytest.approx(sum(lengths) / len(lengths))
    assert 0 < facts.data.mean_trained_tokens < facts.data.mean_tokens
    assert (facts.model.hidden_size, facts.model.num_layers, facts.model.context_length) == (32, 2, 512)
    assert not facts.data.answers_are_json


@pytest.mark.parametrize("answer", ['{"a": 1}', "[1]", "{"])
def test_answers_are_json_if_each_is_an_object(answer: str, tiny_llama: Path, home, tmp_path: Path) -> None:
    rows = [row | {"completion": '{"price": 3}'} for row in CHATS] + [{"prompt": "and?", "completion": answer}]
    assert ready_of(recipe(tmp_path, tiny_llama, rows), home).facts.data.answers_are_json is (answer == '{"a": 1}')


def test_a_second_look_reads_the_token_ids_of_the_first(tiny_llama: Path, home, tmp_path: Path) -> None:
    path = recipe(tmp_path / "work", tiny_llama, CHATS)

    def look(*overrides: str) -> set[str]:
        ready_of(path, home, *overrides)
        return {folder.name for folder in home.cache("rendered").iterdir()}

    first = look()
    assert look() == first
    assert look("train.learning_rate=0.5", "train.seed=4") == first
    assert len(look("train.train_on=all") - first) == 3


def test_a_stale_cache_is_not_read(tiny_llama: Path, home, tmp_path: Path) -> None:
    """An answer, the template and the settings each decide the token ids."""
    template = tmp_path / "t.jinja"
    before = ready_of(recipe(tmp_path / "work", tiny_llama, CHATS), home)
    changed = [row | {"completion": row["completion"].replace("0 euros", "9 euros")} for row in CHATS]
    after = ready_of(recipe(tmp_path / "work", tiny_llama, changed), home)
    assert ids(after) != ids(before)
    source = "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>\n{% endfor %}"
    template.write_text(source + "{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}")
    other = ready_of(recipe(tmp_path / "work", tiny_llama, CHATS, chat_template=str(template)), home)
    assert ids(other) != ids(before)
    assert ids(ready_of(recipe(tmp_path / "work", tiny_llama, CHATS), home)) == ids(before)


def ids(ready) -> list[int]:
    return ready.rendered["train"].ids.tolist()


def test_rows_are_cut_to_the_sequence_length_and_counted(tiny_llama: Path, home, tmp_path: Path) -> None:
    path = recipe(tmp_path, tiny_llama, [*CHATS, LONG], splits={"validation": 0.0, "test": 0.1})
    whole = ready_of(path, home)
    longest = max(int(part.report.longest) for part in whole.rendered.values())
    cut = ready_of(path, home, "train.sequence_len=60", "train.truncation=right")
    assert longest > 60
    assert max(int(part.lengths.max()) for part in cut.rendered.values()) <= 60
    part = data_part(cut, None)["coverage"]
    assert (part["truncated"], part["longest"]) == (1, longest)
    with pytest.raises(DataError, match=r"rows.jsonl:41 \(\d+\)"):
        ready_of(path, home, "train.sequence_len=60")
    dropped = ready_of(path, home, "train.sequence_len=60", "train.truncation=drop")
    assert sum(len(part) for part in dropped.rendered.values()) == 40


def test_a_length_that_no_row_reaches_renders_nothing_anew(tiny_llama: Path, home, tmp_path: Path) -> None:
    path = recipe(tmp_path, tiny_llama, CHATS)
    assert ready_of(path, home).rendered["train"].ids.tolist() == ids(ready_of(path, home, "train.sequence_len=300"))
    assert len(list(home.cache("rendered").iterdir())) == 3


def unlearnt(number: int) -> dict:
    """A row of whose two answers only the first counts, so that `train_on: last` finds nothing in it."""
    turns = [("user", f"{number}?"), ("assistant", "yes"), ("user", f"and {number}?"), ("assistant", "no")]
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"messages": [*messages[:3], messages[3] | {"weight": 0}]}


def test_rows_without_a_token_to_learn_are_an_error_before_step_0(tiny_llama: Path, home, tmp_path: Path) -> None:
    path = recipe(tmp_path, tiny_llama, [unlearnt(i) for i in range(40)])
    ready_of(path, home)
    with pytest.raises(LuthierError, match="nothing to learn in any of"):
        ready_of(path, home, "train.train_on=last")


def test_a_rendering_that_learns_nothing_is_refused() -> None:
    nothing = SimpleNamespace(weights=np.zeros(7))
    settings = Recipe.model_validate({"base_model": "m", "data": "r.jsonl"})
    with pytest.raises(RecipeError, match="no token of any training row would be learnt"):
        check_coverage(settings, {"train": nothing})  # type: ignore[dict-item]
    check_coverage(settings, {"test": nothing})  # type: ignore[dict-item]
    classify = Recipe.model_validate({"base_model": "m", "data": "r.jsonl", "objective": "classify"})
    check_coverage(classify, {"train": nothing})  # type: ignore[dict-item]


def test_the_coverage_names_rows_with_nothing_to_learn(tiny_llama: Path, home, tmp_path: Path) -> None:
    path = recipe(tmp_path, tiny_llama, CHATS, data=["rows.jsonl", "more.jsonl"])
    (tmp_path / "more.jsonl").write_text(json.dumps(unlearnt(0)) + "\n")
    part = check(path, ["train.train_on=last"], home)
    assert part["coverage"]["zero_coverage"] == ["more.jsonl:1"]
    (told,) = [line for line in part["warnings"] if "more.jsonl:1" in line]
    assert told.startswith("1 rows have no token to learn")
    assert check(path, (), home)["coverage"]["zero_coverage"] == []


def test_all_rows_with_nothing_to_learn_are_counted(tiny_llama: Path, home, tmp_path: Path) -> None:
    path = recipe(tmp_path, tiny_llama, CHATS, data=["rows.jsonl", "more.jsonl"])
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(unlearnt(i)) + "\n" for i in range(30)))
    warnings = check(path, ["train.train_on=last"], home)["warnings"]
    assert any(line.startswith("30 rows have no token to learn") for line in warnings)


def test_checking_writes_no_run_no_version_and_no_blob(tiny_bert: Path, home, tmp_path: Path) -> None:
    document = check(classes(tmp_path, tiny_bert), (), home)
    assert document["rows"] == len(CLASSES)
    assert document["forecast"]["steps"] > 0
    assert {"train.learning_rate", "train.num_epochs"} <= {entry["key"] for entry in document["resolved"]}
    assert {path.name for path in home.root.iterdir()} == {"cache"}


def test_plain_text_is_ready_for_pretraining(tiny_llama: Path, home, tmp_path: Path) -> None:
    ready = ready_of(recipe(tmp_path, tiny_llama, TEXTS, objective="pretrain"), home)
    assert ready.data.task == "text"
    train = ready.rendered["train"]
    assert train.report.trained_tokens == train.report.tokens - len(train)


def test_virtual_tokens_take_room_from_the_rows(tiny_llama: Path, home, tmp_path: Path) -> None:
    path = recipe(tmp_path, tiny_llama, CHATS, adapter={"type": "prefix", "num_virtual_tokens": 12})
    ready = ready_of(path, home)
    assert ready.facts.model.context_length == work_of(ready, home).context_length == 500


def test_a_family_that_takes_no_prefix_is_refused(tiny_llama: Path, home, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_llama, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"model_type": "gpt_bigcode"}))
    with pytest.raises(RecipeError, match="models of the family gpt_bigcode take no prefix"):
        ready_of(recipe(tmp_path / "work", model, CHATS, adapter="prefix"), home)
    assert ready_of(recipe(tmp_path / "work", model, CHATS, adapter="prompt"), home).forecast.steps > 0


@pytest.mark.parametrize(
    ("model", "parallel", "count", "words"),
    [
        ("tiny_llama", "tensor", 3, "2 key heads cannot be split into 3"),
        ("tiny_bert", "tensor", 2, "layers of the family bert cannot be split; those of llama, mistral, qwen2 can"),
        ("tiny_llama", "tensor", 2, ""),
        ("tiny_bert", "fsdp", 3, ""),
    ],
)
def test_a_model_that_cannot_be_divided_is_refused(
    model: str, parallel: str, count: int, words: str, request: pytest.FixtureRequest, home, tmp_path: Path
) -> None:
    machine = {"num_processes": count, "parallel": parallel, "memory": "8GB"}
    path = recipe(tmp_path, request.getfixturevalue(model), CLASSES, objective="classify", machine=machine)
    if words:
        with pytest.raises(RecipeError, match=words):
            ready_of(path, home)
    else:
        assert ready_of(path, home).forecast.lanes == 1
