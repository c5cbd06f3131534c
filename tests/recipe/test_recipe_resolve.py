"""What `auto` becomes, for typical recipes and at the edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from luthier.errors import RecipeError
from luthier.recipe import (
    DataFacts,
    Facts,
    MachineFacts,
    ModelFacts,
    Recipe,
    Resolved,
    default_name,
    from_mapping,
    resolve,
    total_steps,
)
from luthier.recipe.accepts import annotation, choices, dotted, every_key
from luthier.recipe.auto import BY_FORECAST, RULES
from luthier.recipe.methods import HEADED, METHODS, PAIRED
from luthier.recipe.values import Part

MACHINE = MachineFacts(2, 24_000_000_000, "cpu", gemm_gflops=180.0, disk_bytes=100_000_000_000)
SMOLLM = ModelFacts("smollm2-135m-instruct", "decoder", 134_515_008, 576, 30, 8192, 49152)
MINILM = ModelFacts("all-minilm-l6-v2", "encoder", 22_713_216, 384, 6, 512, 30522)
TICKETS = DataFacts(
    "generate", {"train": 450, "validation": 50, "test": 110}, 0, 411, 300, 180.5, 30.2, 61, ("chat",), True
)
BANKING = DataFacts(
    "classify",
    {"train": 9002, "validation": 1001, "test": 3080},
    77,
    98,
    40,
    16.0,
    1.0,
    6,
    ("classification",),
)
CORPUS = DataFacts("text", {"train": 40, "test": 8}, 0, 9001, 9000, 4000.5, 4000.0, 0, ("text",))


def tickets(**changes: Any) -> Recipe:
    return from_mapping({"base_model": "smollm2-135m-instruct", "data": "tickets.jsonl", **changes})


def filled(resolved: Resolved) -> dict[str, Any]:
    return {reason.key: reason.value for reason in resolved.reasons}


def whys(resolved: Resolved) -> dict[str, str]:
    return {reason.key: reason.why for reason in resolved.reasons}


MACHINE_VALUES = {
    "machine.device": "cpu", "train.precision": "float32",
    "machine.num_processes": 1, "machine.threads": 2, "machine.memory": "16799MB",
    "machine.disk": "50000MB",
    "machine.stream_base": False,
    "machine.power_watts": 30.0,
}  # fmt: skip


def test_answers_with_lora() -> None:
    resolved = resolve(tickets(), Facts(SMOLLM, TICKETS, MACHINE))
    assert filled(resolved) == {
        "data.0.type": "chat",
        "name": "tickets",
        "train.batch_size": 16,
        "train.rehearsal": 0.05,
        "train.num_epochs": 6.0,
        "train.learning_rate": 0.0014,
        "train.sequence_len": 416,
        "train.eval_steps": 18,
        "train.save_steps": 18,
        "evaluate.metrics": ["json_match"],
        "train.metric_for_best_model": "nll",
        "evaluate.max_new_tokens": 72,
        **MACHINE_VALUES,
    }
    assert total_steps(resolved.recipe, 450) == 177
    why = whys(resolved)
    assert why["train.learning_rate"] == "0.0005 for LoRA on answers at 1 B parameters, × 2.7 for 135 M parameters"
    assert why["train.num_epochs"] == "450 train rows, 16 a step: 169 steps; aimed at 150, in 1 to 10 epochs"
    assert why["machine.power_watts"] == "15 W a core, an assumption"
    assert why["machine.memory"] == "70 % of the 24.0 GB that are free"
    assert why["machine.disk"] == "half of the 100.0 GB that are free where the home lies"


def test_classes_with_a_head() -> None:
    given = {"base_model": "all-minilm-l6-v2", "data": "b.csv", "adapter": "head", "objective": "classify"}
    resolved = resolve(from_mapping(given), Facts(MINILM, BANKING, MACHINE))
    assert filled(resolved) == {
        "data.0.type": "classification",
        "name": "b",
        "train.batch_size": 256,
        "train.rehearsal": 0.0,
        "train.num_epochs": 3.0,
        "train.learning_rate": 0.002,
        "train.sequence_len": 104,
        "train.eval_steps": 14,
        "train.save_steps": 14,
        "evaluate.metrics": ["accuracy", "macro_f1"],
        "train.metric_for_best_model": "accuracy",
        "evaluate.max_new_tokens": 16,
        **MACHINE_VALUES,
    }


def test_text_with_all_weights() -> None:
    recipe = tickets(data="corpus.txt", objective="pretrain", adapter="full", train={"truncation": "right"})
    resolved = resolve(recipe, Facts(SMOLLM, CORPUS, MACHINE))
    assert filled(resolved) == {
        "data.0.type": "text",
        "name": "corpus",
        "train.batch_size": 5,
        "train.rehearsal": 0.05,
        "train.num_epochs": 5.0,
        "train.learning_rate": 3e-05,
        "train.sequence_len": 8192,
        "train.eval_steps": 42,
        "train.save_steps": 5,
        "evaluate.metrics": ["nll"],
        "train.metric_for_best_model": "nll",
        "evaluate.max_new_tokens": 8,
        **MACHINE_VALUES,
    }
    assert "more than 5 % of the rows are longer, and those are cut at the end" in whys(resolved)["train.sequence_len"]


def autos(part: Part) -> Iterator[str]:
    for name, value in part:
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Part):
                yield from autos(item)
            elif item == "auto":
                yield name


@pytest.mark.parametrize(("adapter", "objective"), METHODS)
def test_no_auto_is_left_and_nothing_given_is_changed(adapter: str, objective: str) -> None:
    given = {"type": objective, **({"teacher": "larger"} if objective == "distill" else {})}
    recipe = tickets(adapter=adapter, objective=given, train={"batch_size": 3, "eval_steps": 7}, name="mine")
    task = "preference" if objective in PAIRED else "generate"
    facts = Facts(SMOLLM, replace(TICKETS, labels=2, task=task), MACHINE)
    resolved = resolve(recipe, facts)
    assert list(autos(recipe))
    assert [f"train.{name}" for name in autos(resolved.recipe)] == list(BY_FORECAST)
    assert (resolved.recipe.train.batch_size, resolved.recipe.train.eval_steps) == (3, 7)
    assert resolved.recipe.train.save_steps == 7
    assert not {"name", "train.batch_size", "train.eval_steps"} & set(filled(resolved))
    assert from_mapping(resolved.recipe.to_plain()) == resolved.recipe
    assert resolve(resolved.recipe, facts).reasons == ()


def test_every_key_that_can_be_auto_has_a_rule() -> None:
    can = {dotted(key) for key, _, _ in every_key() if "auto" in choices(annotation(key))}
    assert can == {*RULES, *BY_FORECAST, "data.0.type"}


def test_every_method_is_in_the_table() -> None:
    adapters, objectives = (
        choices(annotation(("adapter", "type"))),
        choices(annotation(("objective", "type"))),
    )
    pairs = {(a, o) for a in adapters for o in objectives if a != "head" or o in HEADED}
    virtual = {(a, o) for a in ("prefix", "prompt") for o in ("distill", "dpo", "reward", "grpo", "ppo")}
    assert set(METHODS) == pairs - virtual


@pytest.mark.parametrize(
    ("parameters", "batch", "rate"),
    [
        (2_000_000_000, 16, 0.00035),
        (1_000_000_000, 16, 0.0005),
        (1_000_000_000, 64, 0.001),
        (100_000, 16, 0.0025),
    ],
)
def test_the_rate_follows_model_size_and_batch(parameters: int, batch: int, rate: float) -> None:
    facts = Facts(replace(SMOLLM, num_parameters=parameters), TICKETS, MACHINE)
    assert resolve(tickets(train={"batch_size": batch}), facts).recipe.train.learning_rate == rate


@pytest.mark.parametrize(("rows", "batch", "epochs"), [(3, 1, 10), (80, 10, 10), (1000, 16, 3), (50_000, 16, 1)])
def test_few_rows_take_smaller_steps_and_more_epochs(rows: int, batch: int, epochs: float) -> None:
    train = resolve(tickets(), Facts(SMOLLM, replace(TICKETS, rows={"train": rows}), MACHINE)).recipe.train
    assert (train.batch_size, train.num_epochs) == (batch, epochs)


@pytest.mark.parametrize("limit", [1, 7, 100, 5000])
def test_a_bound_on_steps_decides_the_epochs(limit: int) -> None:
    resolved = resolve(tickets(train={"max_steps": limit}), Facts(SMOLLM, TICKETS, MACHINE))
    assert total_steps(resolved.recipe, 450) == limit
    assert "train.max_steps" in whys(resolved)["train.num_epochs"]


@pytest.mark.parametrize(
    ("json", "longest", "metric"), [(True, 99, "json_match"), (False, 16, "exact_match"), (False, 17, "nll")]
)
def test_the_metric_follows_the_answers(json: bool, longest: int, metric: str) -> None:
    data = replace(TICKETS, answers_are_json=json, longest_answer_tokens=longest)
    assert resolve(tickets(), Facts(SMOLLM, data, MACHINE)).recipe.evaluate.metrics == (metric,)


def test_answers_never_outgrow_the_context() -> None:
    data = replace(TICKETS, longest_tokens=60, longest_answer_tokens=60)
    recipe = resolve(tickets(), Facts(replace(SMOLLM, context_length=62), data, MACHINE)).recipe
    assert (recipe.train.sequence_len, recipe.evaluate.max_new_tokens) == (62, 62)


def test_a_gpu_is_used_where_there_is_one() -> None:
    resolved = resolve(tickets(), Facts(SMOLLM, TICKETS, replace(MACHINE, device="cuda")))
    assert resolved.recipe.machine.device == "cuda"
    assert resolved.recipe.machine.power_watts == 380
    assert resolve(tickets(machine={"device": "cpu"}), Facts(SMOLLM, TICKETS, MACHINE)).recipe.machine.device == "cpu"


CLASSIFY = {"objective": "classify"}


@pytest.mark.parametrize(
    ("changes", "model", "data", "words"),
    [
        ({}, MINILM, TICKETS, "encoder.*`objective: classify`"),
        (CLASSIFY, MINILM, TICKETS, "two labels, and the rows have 0.*`data.0.field_label`"),
        ({}, SMOLLM, CORPUS, "plain text.*`objective: pretrain`"),
        ({}, SMOLLM, replace(TICKETS, task="preference"), "preference pairs.*`objective: dpo`"),
        ({"objective": "dpo"}, SMOLLM, TICKETS, "`dpo` learns from preference pairs"),
        ({"objective": "dpo"}, MINILM, replace(TICKETS, task="preference"), "encoder.*`reward`"),
        ({}, SMOLLM, replace(TICKETS, task="verdict"), "judge single answers"),
        ({}, SMOLLM, replace(TICKETS, rows={"train": 0}), "no train rows.*luthier check"),
        ({"train": {"sequence_len": 9000}}, SMOLLM, TICKETS, "9000.*reads 8192.*at most 8192"),
        (
            {"evaluate": {"constrain": "json"}},
            SMOLLM,
            replace(TICKETS, answers_are_json=False),
            "JSON object",
        ),
        ({"machine": {"device": "cuda"}}, SMOLLM, TICKETS, "no CUDA device.*`cpu`"),
    ],
)
def test_what_cannot_be_given_is_refused(
    changes: dict[str, Any], model: ModelFacts, data: DataFacts, words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        resolve(tickets(**changes), Facts(model, data, MACHINE))


def test_a_recipe_made_in_python_is_checked_too() -> None:
    recipe = Recipe.model_validate({"base_model": "m", "data": "d", "adapter": "head"})
    with pytest.raises(RecipeError, match="objective: classify"):
        resolve(recipe, Facts(SMOLLM, TICKETS, MACHINE))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/Tickets 2.jsonl", "tickets-2"),
        ("banking77/train.csv", "banking77"),
        ("hub:o/squad", "squad"),
        ("data/", "model"),
    ],
)
def test_names_come_from_the_data(path: str, name: str) -> None:
    assert default_name(tickets(data=path)) == name


def test_virtual_tokens_leave_rows_less_room_and_at_least_some() -> None:
    """`context_length` is what is left after them."""
    long = tickets(adapter={"type": "prompt", "num_virtual_tokens": 12}, train={"sequence_len": 512})
    with pytest.raises(RecipeError, match="reads 500 tokens after 12 virtual ones"):
        resolve(long, Facts(replace(SMOLLM, context_length=500), TICKETS, MACHINE))
    many = tickets(adapter={"type": "prefix", "num_virtual_tokens": 600})
    with pytest.raises(RecipeError, match=r"`adapter.num_virtual_tokens` is 600, which leaves .* no room for rows"):
        resolve(many, Facts(replace(SMOLLM, context_length=512 - 600), TICKETS, MACHINE))


def test_sampled_answers() -> None:
    objective = {"type": "grpo", "reward": "exact_match", "num_iterations": 2}
    resolved = resolve(tickets(objective=objective), Facts(SMOLLM, TICKETS, MACHINE))
    found = filled(resolved)
    assert (found["train.batch_size"], found["train.rehearsal"], found["train.learning_rate"]) == (8, 0.0, 0.00055)
    assert (found["evaluate.metrics"], found["train.metric_for_best_model"]) == (["exact_match"], "reward")
    assert found["train.num_epochs"] == 1.0
    assert total_steps(resolved.recipe, 450) == 2 * 57
