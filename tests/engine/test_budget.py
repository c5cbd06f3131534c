"""The forecast: what grows must cost more, and what it promises must hold together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.engine.budget import LEAN_MICRO_BATCH_TOKENS, SAMPLED_TOKENS, Forecast, forecast
from luthier.engine.trained_size import trained_parameters
from luthier.recipe import DataFacts, Facts, MachineFacts, ModelFacts, from_mapping, resolve

MACHINE = MachineFacts(cores=2, memory_bytes=24_000_000_000, device="cpu", gemm_gflops=180.0)
SMOLLM = ModelFacts("smollm2-135m-instruct", "decoder", 134_515_008, 576, 30, 8192, 49152)
TICKETS = DataFacts("generate", {"train": 450, "validation": 50, "test": 110}, 0, 411, 300, 180.5, 30.2, 61, ("chat",))
CLASSES = replace(TICKETS, task="classify", labels=6)
FACTS = Facts(SMOLLM, TICKETS, MACHINE)


def foretold(facts: Facts = FACTS, train: dict[str, Any] | None = None, **changes: Any) -> Forecast:
    kind = {"base_model": "smollm2-135m-instruct", "data": "rows.jsonl", "train": {"rehearsal": 0, **(train or {})}}
    recipe = from_mapping({**kind, **changes})
    return forecast(resolve(recipe, facts).recipe, facts)


def data(**changes: Any) -> Facts:
    return replace(FACTS, data=replace(TICKETS, **changes))


FIXED = {"train": {"num_epochs": 2, "batch_size": 8}}


@given(st.floats(5, 400), st.floats(1.01, 10))
def test_more_tokens_a_row_take_longer(mean: float, factor: float) -> None:
    few, many = (foretold(data(mean_tokens=mean * f), **FIXED) for f in (1, factor))
    assert many.tokens >= few.tokens
    assert many.seconds > few.seconds
    assert many.steps == few.steps


@given(st.integers(20, 10_000), st.integers(1, 10_000))
def test_more_rows_take_longer(rows: int, more: int) -> None:
    few, many = (foretold(data(rows={"train": n, "validation": 9, "test": 9}), **FIXED) for n in (rows, rows + more))
    assert many.tokens > few.tokens
    assert many.seconds > few.seconds
    assert many.steps >= few.steps


def test_twice_the_epochs_take_twice_as_long() -> None:
    once, twice = (foretold(train={"num_epochs": n, "batch_size": 8}) for n in (1, 2))
    assert twice.tokens == 2 * once.tokens == 2 * int(450 * 180.5)
    assert twice.seconds == pytest.approx(2 * once.seconds)


def test_a_bound_on_steps_bounds_tokens_and_seconds() -> None:
    bound = foretold(train={"max_steps": 5, "batch_size": 8, "num_epochs": 2})
    assert (bound.steps, bound.tokens) == (5, int(5 * 8 * 180.5))
    assert bound.seconds == pytest.approx(foretold(**FIXED).seconds * 40 / 900)


def test_passages_that_are_rehearsed_are_counted() -> None:
    train = {"num_epochs": 2, "batch_size": 8, "rehearsal": 0.1}
    assert foretold(train=train).tokens == int(2 * 495 * 180.5)


@pytest.mark.parametrize(
    ("train", "machine", "lanes"),
    [
        ({"batch_size": 16}, {}, 2),
        ({"batch_size": 1}, {}, 1),
        ({"batch_size": 16}, {"threads": 8}, 8),
        ({"batch_size": 2}, {"threads": 8}, 2),
        ({"batch_size": 16, "gradient_checkpointing": False}, {"memory": "2GB"}, 1),
    ],
)
def test_lanes_need_cores_rows_and_memory(train: dict[str, Any], machine: dict[str, Any], lanes: int) -> None:
    assert foretold(train=train, machine=machine).lanes == lanes
    assert foretold(train=train, machine=machine, adapter={"lora_dropout": 0.1}).lanes == 1


def test_a_machine_twice_as_fast_takes_half_the_time() -> None:
    fast = replace(FACTS, machine=replace(MACHINE, gemm_gflops=360.0))
    assert foretold(fast, **FIXED).seconds == pytest.approx(foretold(**FIXED).seconds / 2)


def test_the_forecast_of_a_known_fit() -> None:
    """SmolLM2 with LoRA: 4 operations a weight of the trunk and token, and of the head and answer token."""
    trunk, head = 134_515_008 - 49152 * 576, 49152 * 576
    each = 4 * (trunk * 180.5 + head * 30.2)
    assert foretold(**FIXED).seconds == pytest.approx(900 * each / (180e9 * 0.55))


def test_what_trains_more_takes_more() -> None:
    facts = replace(FACTS, data=CLASSES)
    head, lora, full = (foretold(facts, adapter=a, objective="classify", **FIXED) for a in ("head", "lora", "full"))
    assert head.seconds < lora.seconds < full.seconds
    assert head.peak_memory_bytes < lora.peak_memory_bytes < full.peak_memory_bytes


@pytest.mark.parametrize(
    ("adapter", "weights"),
    [
        ("ia3", 30 * 5 * 576),
        ({"type": "bottleneck", "bottleneck_size": 64}, 30 * 4 * 64 * 576),
        ({"type": "bottleneck", "bottleneck_size": 64, "bottleneck_placement": "pfeiffer"}, 30 * 2 * 64 * 576),
        ({"type": "adalora", "init_r": 12, "num_layers": 10}, 10 * 12 * 18 * 576),
    ],
)
def test_the_weights_that_are_trained_are_counted(adapter: Any, weights: int) -> None:
    recipe = resolve(from_mapping({"base_model": "m", "data": "d.jsonl", "adapter": adapter}), FACTS).recipe
    assert trained_parameters(recipe, FACTS) == weights


@pytest.mark.parametrize(
    ("way", "held"),
    [
        ({"load_in_4bit": True}, 0.516),
        ({"load_in_8bit": True}, 1.01),
        ({"machine": {"threads": 1, "stream_base": True}}, 0),
    ],
)
def test_a_base_in_fewer_bits_or_on_disk_takes_less_but_for_its_embeddings(way: dict[str, Any], held: float) -> None:
    plain = {"machine": {"threads": 1}}
    whole, lean = foretold(**plain, **FIXED), foretold(**{**plain, **way}, **FIXED)
    tokens = (whole.micro_batch_tokens - lean.micro_batch_tokens) * 4 * 30 * 34 * 576
    saved = (4 - held) * (134_515_008 - 49152 * 576)
    logits = 2 * 4 * 49152 * (256 - 64) * ("machine" not in way)
    assert whole.peak_memory_bytes - lean.peak_memory_bytes == pytest.approx(saved + tokens + logits, rel=1e-3)


def test_a_base_of_fewer_bits_has_few_tokens_under_way() -> None:
    short, long = (
        foretold(
            data(longest_tokens=n), load_in_4bit=True, machine={"threads": 2}, train={"gradient_checkpointing": False}
        )
        for n in (150, 1500)
    )
    assert (short.lanes, short.micro_batch_tokens, short.tokens_under_way) == (
        2,
        LEAN_MICRO_BATCH_TOKENS,
        2 * LEAN_MICRO_BATCH_TOKENS,
    )
    assert (long.lanes, long.micro_batch_tokens, long.tokens_under_way) == (2, 1500, 1500)
    assert long.peak_memory_bytes - short.peak_memory_bytes == pytest.approx(
        (1500 - 2 * LEAN_MICRO_BATCH_TOKENS) * 4 * 30 * 34 * 576, rel=1e-3
    )
    assert foretold().tokens_under_way is None


def test_long_rows_of_a_base_of_fewer_bits_are_computed_again_and_take_no_more() -> None:
    short, long = (foretold(data(longest_tokens=n), load_in_4bit=True, machine={"threads": 2}) for n in (150, 1500))
    assert (long.lanes, long.micro_batch_tokens, long.tokens_under_way) == (2, LEAN_MICRO_BATCH_TOKENS, None)
    assert long.peak_memory_bytes == short.peak_memory_bytes
    longer = foretold(data(longest_tokens=8000), load_in_4bit=True, machine={"threads": 2})
    again = 2 * 4 * 576 * ((34 + 30) * 8000 - 30 * 34 * LEAN_MICRO_BATCH_TOKENS)
    assert longer.peak_memory_bytes - long.peak_memory_bytes == pytest.approx(again, rel=1e-3)


def test_a_base_larger_than_memory_stays_in_its_files_and_is_read_for_one_micro_batch_at_a_time() -> None:
    recipe = from_mapping({"base_model": "m", "data": "d.jsonl", "machine": {"memory": "500MB", "threads": 4}})
    found = resolve(recipe, FACTS)
    assert found.recipe.machine.stream_base is True
    why = {reason.key: reason.why for reason in found.reasons}["machine.stream_base"]
    assert why.startswith("the base takes 0.5 GB in memory, and machine.memory allows 0.5 GB; its linear layers stay")
    assert forecast(found.recipe, FACTS).lanes == 1
    for way in ({"load_in_4bit": True}, {"adapter": "full"}):
        assert resolve(from_mapping(recipe.to_plain() | way), FACTS).recipe.machine.stream_base is False


def test_the_price_is_that_of_the_hours() -> None:
    priced = foretold(machine={"price_per_hour": 3.0}, **FIXED)
    assert priced.cost == pytest.approx(priced.seconds / 3600 * 3.0)
    assert foretold(**FIXED).cost == 0.0


@given(st.integers(600, 20_000), st.integers(8, 8192), st.integers(1, 8))
def test_a_micro_batch_holds_the_longest_row_and_fits_where_it_can(megabytes: int, longest: int, threads: int) -> None:
    found = foretold(data(longest_tokens=longest), machine={"memory": f"{megabytes}MB", "threads": threads})
    assert longest <= found.micro_batch_tokens <= max(longest, 1024)
    assert 1 <= found.lanes <= threads
    fits = found.peak_memory_bytes <= megabytes * 1e6
    assert fits or (found.micro_batch_tokens, found.lanes) == (longest, 1)


def test_more_memory_never_means_smaller_micro_batches() -> None:
    alone = {"threads": 1}
    sizes = [foretold(data(longest_tokens=64), machine={"memory": f"{n}GB", **alone}) for n in (1, 2, 3, 4, 8, 16)]
    tokens = [found.micro_batch_tokens for found in sizes]
    assert tokens == sorted(tokens)
    assert tokens[0] == 64
    assert tokens[-1] == 1024


def test_virtual_tokens_are_few_weights_and_as_much_work_as_lora() -> None:
    prefix, prompt, lora = (foretold(adapter=kind, **FIXED) for kind in ("prefix", "prompt", "lora"))
    assert prefix.seconds == prompt.seconds == lora.seconds
    assert prompt.peak_memory_bytes < prefix.peak_memory_bytes
    recipe = from_mapping({"base_model": "m", "data": "d", "adapter": {"type": "prefix", "num_virtual_tokens": 7}})
    assert trained_parameters(recipe, FACTS) == 7 * 30 * 2 * 576


def test_each_row_of_an_encoder_has_virtual_tokens_of_its_own() -> None:
    few, many = (
        foretold(replace(FACTS, model=replace(SMOLLM, kind="encoder"), data=CLASSES), objective="classify",
                 adapter={"type": "prompt", "num_virtual_tokens": count}, **FIXED)
        for count in (1, 182)
    )  # fmt: skip
    assert many.seconds == pytest.approx(few.seconds * (180.5 + 182) / 181.5)
    assert many.tokens == few.tokens


def grpo(**changes: Any) -> dict[str, Any]:
    return {"objective": {"type": "grpo", **changes}, "evaluate": {"max_new_tokens": 32}, **FIXED}


def test_sampled_answers_are_counted_at_their_longest() -> None:
    found = foretold(**grpo(num_generations=4))
    prompt = 180.5 - 30.2
    assert found.steps == 113
    assert found.tokens == int(900 * 4 * (prompt + 32))


def test_more_answers_more_steps_on_them_and_a_penalty_take_longer() -> None:
    plain = foretold(**grpo(num_generations=4))
    assert foretold(**grpo(num_generations=8)).seconds > plain.seconds
    assert foretold(**grpo(num_generations=4, num_iterations=2)).steps == 2 * plain.steps
    assert foretold(**grpo(num_generations=4, num_iterations=2)).seconds > 1.5 * plain.seconds
    penalised = foretold(**grpo(num_generations=4, kl_coef=0.1))
    assert penalised.seconds > plain.seconds
    assert penalised.peak_memory_bytes > plain.peak_memory_bytes


def test_a_micro_batch_holds_the_longest_answer() -> None:
    assert foretold(data(longest_tokens=1500), **grpo()).micro_batch_tokens >= 1500 + 32


def test_as_many_tokens_are_sampled_at_a_time_as_the_sampler_holds() -> None:
    from luthier.models.sample import MEMORY_TOKENS

    assert SAMPLED_TOKENS == MEMORY_TOKENS


def test_processes_share_memory_and_cores_on_a_cpu() -> None:
    """Replicas hold all of the model; shares of it are smaller."""
    machine = {"threads": 4, "memory": "60GB"}
    one = foretold(machine=machine)
    two = foretold(machine={**machine, "num_processes": 2})
    shared = foretold(machine={**machine, "num_processes": 2, "parallel": "fsdp"})
    assert (one.lanes, two.lanes, shared.lanes) == (4, 2, 1)
    assert one.seconds == two.seconds
    assert one.peak_memory_bytes < two.peak_memory_bytes
    assert shared.peak_memory_bytes < two.peak_memory_bytes


def test_gpus_have_memory_of_their_own_and_share_the_time() -> None:
    facts = replace(FACTS, machine=replace(MACHINE, device="cuda", gpus=2))
    full = {"adapter": "full", "machine": {"memory": "200GB"}}
    one = foretold(facts, **full)
    two = foretold(facts, adapter="full", machine={"memory": "200GB", "num_processes": 2, "parallel": "fsdp"})
    assert two.seconds == pytest.approx(one.seconds / 2)
    assert two.peak_memory_bytes < one.peak_memory_bytes
