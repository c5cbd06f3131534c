"""What is said of recipes that are wrong: where, what, and how to mend it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import RecipeError
from luthier.recipe import Recipe, from_mapping, load
from luthier.recipe.accepts import annotation, choices, every_key
from luthier.recipe.foreign import KEYS, VALUES

BASE = "base_model: m\ndata: d.jsonl\n"

WRONG: dict[str, tuple[str, list[str]]] = {
    "empty": ("", ["empty", "base_model"]),
    "only a comment": ("# nothing\n", ["empty"]),
    "a list": ("- a\n- b\n", ["not a mapping"]),
    "a word": ("hello\n", ["not a mapping"]),
    "a tab": ("base_model: m\ntrain:\n\tseed: 1\n", ["line 3", "tab", "spaces"]),
    "a key twice": (BASE + "name: a\nname: b\n", ["line 4", "`name`", "twice", "line 3"]),
    "a nested key twice": (BASE + "train:\n  seed: 1\n  seed: 2\n", ["line 5", "`train.seed`", "line 4"]),
    "two documents": (BASE + "---\nname: b\n", ["second YAML document"]),
    "an open bracket": (BASE + "evaluate: {metrics: [nll\n", ["not YAML", "brackets"]),
    "a colon in text": (BASE + "name: a: b\n", ["line 3", "`:`", "quotes"]),
    "bad indentation": (BASE + "train:\n    seed: 1\n  batch_size: 2\n", ["line 5", "indented"]),
    "an alias": ("base_model: &m m\ndata: *m\n", ["line 2", "Write the value out"]),
    "a tag": (BASE + "name: !!binary aGk=\n", ["line 3", "`name`", "tag"]),
    "a Python object": (BASE + "name: !!python/object:os.system x\n", ["line 3", "tag"]),
    "a control character": (BASE + "name: \x07\n", ["not YAML", "special characters"]),
    "endless nesting": ("[" * 5000, ["nested"]),
    "an endless number": (BASE + f"train: {{seed: {'9' * 5000}}}\n", ["line 3", "`train.seed`", "number"]),
    "nothing required": (
        "{}\n",
        ["2 faults", "`base_model` is missing", "`data` is missing", "data: tickets.jsonl"],
    ),
    "empty values": (
        "base_model:\ndata: []\n",
        ["2 faults", "line 1", "`base_model` is empty", "Write a folder", "`data` is empty", "data: tickets.jsonl"],
    ),
    "no path": ("base_model: m\ndata: [{type: chat}]\n", ["line 2", "`data.0.path` is missing"]),
    "a number as an entry": ("base_model: m\ndata: [7]\n", ["`data.0`", "mapping", "`path`"]),
    "a slip": (BASE + "train:\n  batchsize: 2\n", ["line 4", "`train.batchsize`", "mean `train.batch_size`"]),
    "a slip in a section": (BASE + "trian: {}\n", ["line 3", "`trian`", "mean `train`"]),
    "a slip at the wrong level": (BASE + "learning_rat: 1\n", ["mean `train.learning_rate`"]),
    "a slip in an entry": (
        "base_model: m\ndata: {path: a, splt: test}\n",
        ["`data.0.splt`", "`data.0.split`"],
    ),
    "nothing near": (BASE + "ship: {xyzzy: 1}\n", ["`ship.xyzzy`", "`require`, `margin` and `alias`"]),
    "hyphens": (BASE + "train: {batch-size: 1}\n", ["Write `train.batch_size`"]),
    "the wrong level": (BASE + "learning_rate: 1e-4\n", ["line 3", "Write `train.learning_rate`"]),
    "two levels": (BASE + "seed: 1\n", ["Write `splits.seed` or `train.seed`"]),
    "a section at the wrong level": (BASE + "train: {machine: {device: cpu}}\n", ["Write `machine`"]),
    "a dotted key": (BASE + "train.seed: 1\n", ["Write `seed:` below `train:`"]),
    "text for a number": (BASE + "train: {num_epochs: many}\n", ["`many`", "`auto` or a number above 0"]),
    "a quoted number": (BASE + "train: {batch_size: '16'}\n", ["`16`", "Remove the quotes"]),
    "true for a number": (BASE + "train: {batch_size: true}\n", ["`true`", "whole number above 0"]),
    "a fraction for a count": (BASE + "train: {batch_size: 1.5}\n", ["`1.5`", "whole number"]),
    "a number for a name": (BASE + "name: 12\n", ["`name`", "`12`", "quotes"]),
    "a name with a slash": (BASE + "name: a/b\n", ["`a/b`", "letters, digits"]),
    "yes for true": (BASE + "curate: {deduplicate: yes}\n", ["`yes`", "`true` or `false`"]),
    "zero": (BASE + "train: {learning_rate: 0}\n", ["`0`", "above 0"]),
    "one and more": (BASE + "splits: {test: 1.0}\n", ["at least 0 and below 1"]),
    "not finite": (BASE + "train: {learning_rate: .inf}\n", ["`inf`", "number above 0"]),
    "not a number": (BASE + "train: {max_grad_norm: .nan}\n", ["`nan`"]),
    "a negative seed": (BASE + "train: {seed: -1}\n", ["`-1`", "at least 0"]),
    "a number for a section": (BASE + "train: 3\n", ["`train` is `3`", "mapping", "`num_epochs`"]),
    "nothing for a value": (BASE + "train: {seed: }\n", ["`train.seed` is empty"]),
    "a slip in a value": (BASE + "train: {lr_scheduler: Cosin}\n", ["`Cosin`", "`linear`", "mean `cosine`"]),
    "a value in a list": (
        BASE + "evaluate: {metrics: [nll, f1]}\n",
        ["`evaluate.metrics.1`", "Write `macro_f1`"],
    ),
    "no list": (BASE + "evaluate: {metrics: nll}\n", ["Write a list: `[nll]`"]),
    "an empty list": (BASE + "evaluate: {metrics: []}\n", ["`evaluate.metrics` is empty"]),
    "twice in a list": (BASE + "evaluate: {metrics: [nll, nll]}\n", ["`evaluate.metrics`", "twice"]),
    "a value in a mapping": (
        BASE + "objective: {type: classify, class_weights: {spam: 0}}\n",
        ["`objective.class_weights.spam`", "above 0"],
    ),
    "a time": (BASE + "train: {max_time: 90}\n", ["`train.max_time`", "`1h30m`."]),
    "no time at all": (BASE + "train: {max_time: 0s}\n", ["`0s`", "`90s`"]),
    "memory": (BASE + "machine: {memory: lots}\n", ["`machine.memory`", "`8GB`"]),
    "another tool's method": (BASE + "adapter: qlora\n", ["`qlora`", "Write `lora`", "`load_in_4bit: true`"]),
    "a method that is a key here": (BASE + "adapter: dora\n", ["`dora`", "`adapter: {type: lora, use_dora: true}`"]),
    "axolotl's DoRA": (BASE + "peft_use_dora: true\n", ["Write `adapter.use_dora`"]),
    "a bottleneck by its author": (BASE + "adapter: houlsby\n", ["Write `bottleneck`"]),
    "another tool's rollouts": (BASE + "objective: {type: rloo}\n", ["`rloo`", "Write `grpo`"]),
    "a reward without answers": (BASE + "objective: {reward: json_match}\n", ["no effect", "`objective: grpo`"]),
    "PPO's values in GRPO": (BASE + "objective: {type: grpo, lam: 0.9}\n", ["`objective.lam`", "`objective: ppo`"]),
    "a group of one": (BASE + "objective: {type: grpo, num_generations: 1}\n", ["compares", "at least 2"]),
    "rollouts with dropout": (
        BASE + "adapter: {lora_dropout: 0.1}\nobjective: ppo\n",
        ["`adapter.lora_dropout`", "another policy"],
    ),
    "rehearsal beside rollouts": (BASE + "objective: grpo\ntrain: {rehearsal: 0.1}\n", ["no effect"]),
    "the likelihood of rollouts": (
        BASE + "objective: grpo\ntrain: {metric_for_best_model: nll}\n",
        ["`nll`", "`reward`"],
    ),
    "another tool's objective": (BASE + "objective: orpo\n", ["`orpo`", "`dpo` or `reward`", "Write `dpo`"]),
    "another tool's key": (BASE + "dpo_beta: 0.2\n", ["`dpo_beta`", "Write `objective.beta`"]),
    "a setting of another objective": (BASE + "objective: {type: sft, beta: 0.2}\n", ["no effect", "`objective: dpo`"]),
    "a metric of pairs": (BASE + "evaluate: {metrics: [preference_accuracy]}\n", ["not measured", "`exact_match`"]),
    "a validation metric of another objective": (
        BASE + "train: {metric_for_best_model: loss}\n",
        ["`loss`", "not measured", "`nll`"],
    ),
    "another tool's format": ("base_model: m\ndata: {path: a, type: openai}\n", ["Write `chat`"]),
    "another tool's template": (BASE + "chat_template: chatml\n", ["line 3", "Jinja file", "Leave it out"]),
    "a template written out": (BASE + "chat_template: '{{ messages }}'\n", ["Jinja file"]),
    "a head for text": (BASE + "adapter: head\n", ["line 3", "`adapter: head`", "`objective: classify`"]),
    "LoRA settings without LoRA": (
        BASE + "adapter: {type: full, lora_r: 8}\n",
        ["`adapter.lora_r`", "no effect"],
    ),
    "virtual tokens without a place for them": (
        BASE + "adapter: {type: lora, num_virtual_tokens: 8}\n",
        ["`adapter.num_virtual_tokens`", "no effect without `adapter: prefix` or `adapter: prompt`"],
    ),
    "ranks of virtual tokens": (BASE + "adapter: {type: prompt, lora_r: 8}\n", ["`adapter.lora_r`", "no effect"]),
    "another tool's name": (BASE + "adapter: {type: prefix_tuning}\n", ["`prefix_tuning`", "Write `prefix`"]),
    "the settings of another adapter": (
        BASE + "adapter: {type: ia3, lora_alpha: 8, bottleneck_size: 3, use_dora: true}\n",
        ["3 faults", "`adapter: lora` or `adapter: adalora`", "`adapter: bottleneck`", "no effect"],
    ),
    "ranks that cannot fall": (
        BASE + "adapter: {type: adalora, target_r: 12}\n",
        ["`adapter.target_r` is 12, not below"],
    ),
    "four bits without LoRA": (
        BASE + "load_in_4bit: true\nadapter: ia3\n",
        ["line 3", "`load_in_4bit` needs `adapter: lora`"],
    ),
    "four bits with DoRA": (BASE + "load_in_4bit: true\nadapter: {use_dora: true}\n", ["exclude each other"]),
    "label smoothing of text": (
        BASE + "objective: {label_smoothing: 0.1}\n",
        ["no effect", "`objective: classify`"],
    ),
    "class weights of text": (
        BASE + "objective: {class_weights: balanced}\n",
        ["class_weights", "no effect"],
    ),
    "turns without turns": (
        BASE + "objective: pretrain\ntrain: {train_on: last}\n",
        ["line 4", "`objective: sft`"],
    ),
    "constrained classes": (BASE + "objective: classify\nevaluate: {constrain: json}\n", ["no effect"]),
    "a metric of another task": (
        BASE + "objective: classify\nevaluate: {metrics: [nll]}\n",
        ["`nll`", "`accuracy`"],
    ),
    "a best metric of another task": (
        BASE + "train: {metric_for_best_model: accuracy}\n",
        ["`accuracy`", "`nll`"],
    ),
    "cost without a price": (BASE + "train: {max_cost: 3}\n", ["max_cost", "`machine.price_per_hour`"]),
    "patience without validation": (
        BASE + "splits: {validation: 0}\ntrain: {early_stopping_patience: 2}\n",
        ["line 4", "early_stopping_patience", "`splits.validation`"],
    ),
    "a margin that is not used": (
        BASE + "ship: {margin: 0.2}\n",
        ["`ship.margin`", "`ship.require: not_worse`"],
    ),
    "shots for nobody": (BASE + "evaluate: {baselines: [base], shots: 8}\n", ["`evaluate.shots`", "`few_shot`"]),
    "a margin of nothing": (
        BASE + "evaluate: {forgetting: false, forgetting_margin: 0.2}\n",
        ["`evaluate.forgetting: true`"],
    ),
    "a number as an alias": (BASE + "ship: {alias: '3'}\n", ["line 3", "`ship.alias`", "version", "word"]),
    "a gate without a rival": (
        BASE + "evaluate: {baselines: []}\n",
        ["compare", "`evaluate.baselines: [base]`"],
    ),
    "a gate without test rows": (BASE + "splits: {test: 0}\n", ["`splits.test`", "test rows"]),
    "no train rows": ("base_model: m\ndata: {path: a, split: test}\n", ["line 2", "no train rows"]),
    "splits that take all": (BASE + "splits: {validation: 0.5, test: 0.5}\n", ["line 3", "smaller than 1"]),
    "lengths that cross": (BASE + "curate: {min_chars: 9, max_chars: 8}\n", ["`curate.max_chars`", "9"]),
}


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
sample_packing pad_to_sequence_len flash_attention bf16 fp16 gradient_checkpointing load_in_8bit
output_dir val_set_size datasets lora_target_linear cutoff_len logging_steps report_to dataset
template num_train_epochs finetuning_type lora_rank lora_target max_seq_length train_on_inputs
optimizer lr_scheduler_type warmup_steps eval_strategy save_total_limit wandb_project special_tokens
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
