"""What is said of recipes that are wrong: where, what, and how to mend it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wrong_recipes import BASE, WRONG

from luthier.errors import RecipeError
from luthier.recipe import Recipe, from_mapping, load
from luthier.recipe.accepts import annotation, choices, every_key
from luthier.recipe.foreign import KEYS, VALUES


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_recipe_says_what_where_and_how(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load(path)
    message = str(caught.value)
    for word in ["wrong.yaml", *words]:
        assert word in message
    assert "pydantic" not in message
    assert "\n" not in message


FOREIGN = """
model_name_or_path micro_batch_size gradient_accumulation_steps per_device_train_batch_size
sample_packing pad_to_sequence_len flash_attention bf16 fp16 use_gradient_checkpointing quantization_bit
output_dir val_set_size datasets lora_target_linear cutoff_len logging_steps report_to dataset
template num_train_epochs finetuning_type lora_rank lora_target max_seq_length train_on_inputs
optim lr_scheduler_type warmup_steps eval_strategy save_total_limit wandb_project special_tokens
deepspeed fsdp hub_model_id neftune_noise_alpha trust_remote_code stage do_train
"""


@pytest.mark.parametrize("name", FOREIGN.split())
def test_a_key_of_another_tool_is_answered_by_what_to_write(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"`{name}` is not a key of Luthier\. (Write|Leave it out)"):
        from_mapping({"base_model": "m", "data": "d", name: 1})
    with pytest.raises(RecipeError, match=rf"`train\.{name}` is not a key of Luthier\. (Write|Leave it out)"):
        from_mapping({"base_model": "m", "data": "d", "train": {name: 1}})


def test_advice_names_keys_that_exist_and_values_that_are_taken() -> None:
    own = {name for _, _, name in every_key()} | set(Recipe.model_fields)
    assert not own & set(KEYS)
    for advice in [*KEYS.values(), *VALUES.values()]:
        for path in re.findall(r"`([a-z_]+(?:\.\w+)+)", advice):
            assert annotation(_key(path)), path
    for path, value in VALUES:
        assert annotation(_key(path)), path
        assert value not in choices(annotation(_key(path)))
        wanted = re.match(r"write `(\w+)`", VALUES[path, value])
        assert not wanted or wanted[1] in [*choices(annotation(_key(path))), "all"], path


def _key(path: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdecimal() else part for part in path.split("."))


def test_a_key_that_another_tools_key_stands_for_is_not_missing_too() -> None:
    with pytest.raises(RecipeError) as caught:
        from_mapping({"model_name_or_path": "m", "datasets": "d"})
    assert "2 faults" in str(caught.value)
    assert "missing" not in str(caught.value)


def test_all_faults_are_told_at_once_in_order_up_to_five(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(BASE + "foo: 1\ntrain: {seed: x}\n" + "".join(f"bar{n}: 1\n" for n in range(5)))
    with pytest.raises(RecipeError) as caught:
        load(path)
    message = str(caught.value)
    assert "7 faults" in message
    assert "And 2 more" in message
    assert message.index("line 3: `foo`") < message.index("line 4: `train.seed`") < message.index("line 5: `bar0`")


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": {"type": "classify", "class_weights": {"a": 0}}},
        {"evaluate": {"metrics": ["nll", "f1"]}},
    ],
)
def test_one_mistake_is_one_fault_though_a_union_has_several_members(changes: dict[str, Any]) -> None:
    with pytest.raises(RecipeError) as caught:
        from_mapping({"base_model": "m", "data": "d", **changes})
    assert "faults" not in str(caught.value)


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    cases: dict[str, tuple[bytes | None, str]] = {
        "absent.yaml": (None, "no such file.*luthier init"),
        "latin.yaml": ("base_model: m\nname: é\n".encode("latin-1"), "line 2: it is not UTF-8"),
        "rows.jsonl": (b'{"text": "a"}\n', "data, not a recipe.*luthier init"),
        "large.yaml": (b"#" * 1_000_001, "data, not a recipe"),
    }
    for name, (content, words) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(RecipeError, match=words):
            load(tmp_path / name)
    with pytest.raises(RecipeError, match="cannot be read"):
        load(tmp_path)


def test_a_mapping_is_named_as_the_caller_says() -> None:
    with pytest.raises(RecipeError, match=r"^the request: .*`base_model` is missing"):
        from_mapping({"data": "d"}, "the request")
    with pytest.raises(RecipeError, match="the request: it is not a mapping"):
        from_mapping(["d"], "the request")  # type: ignore[arg-type]


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=2),
    max_leaves=3,
)
KEYS_OF_ALL = [key for key, _, _ in every_key()] + [(name,) for name in Recipe.model_fields]


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from(KEYS_OF_ALL), value=ANYTHING)
def test_no_value_at_any_key_gets_past_the_two_outcomes(key: tuple[str | int, ...], value: Any) -> None:
    given: dict[str, Any] = {"base_model": "m", "data": [{"path": "d"}]}
    here: Any = given
    for part in key[:-1]:
        here = here.setdefault(part, {}) if isinstance(here, dict) else here[part]
    here[key[-1]] = value
    message = ""
    try:
        from_mapping(given)
    except RecipeError as error:
        message = str(error)
    assert not message or re.match(r"recipe: (\d faults|`)", message)
