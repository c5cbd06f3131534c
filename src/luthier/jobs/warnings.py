"""What will probably spoil a run or its verdict, found before it starts."""

from __future__ import annotations

from typing import Any

from luthier.jobs.prepare import Ready
from luthier.models.families import packs
from luthier.recipe import parse_memory

BITS = {"nf4": "four bits (NF4)", "int8": "eight bits"}
SMALL_TEST = 100
"""Test rows under which only large differences can be shown."""


def licences(ready: Ready) -> dict[str, str | None]:
    """The licence of the base and of each data entry."""
    found = {ready.files.name: ready.files.licence}
    return found | {entry.path: entry.licence for entry in ready.recipe.data}


def warnings(ready: Ready, part: dict[str, Any]) -> list[str]:
    """What will probably spoil the run or the verdict."""
    told = [f"no licence is stated for {name}" for name, licence in licences(ready).items() if licence is None]
    room = parse_memory(str(ready.recipe.machine.memory))
    if ready.forecast.peak_memory_bytes > room:
        told.append(f"the forecast is {ready.forecast.peak_memory_bytes / 1e9:.1f} GB of memory, machine.memory "
                    f"allows {room / 1e9:.1f} GB")  # fmt: skip
    if int(ready.recipe.machine.threads) > ready.facts.machine.cores:
        told.append(f"machine.threads is above the {ready.facts.machine.cores} cores that this process may use")
    tests = part["splits"].get("test", 0)
    if tests < SMALL_TEST:
        told.append(f"the test split has {tests} rows; under {SMALL_TEST}, only large differences can be shown")
    beside = part["splits"].get("beside_test", SMALL_TEST)
    if beside < SMALL_TEST:
        told.append(f"the test split beside has {beside} rows; under {SMALL_TEST}, only large differences can be shown")
    cut, empty = part["coverage"]["truncated"], part["coverage"]["zero_coverage"]
    if cut:
        told.append(f"{cut} rows are longer than train.sequence_len and will be cut")
    dropped = [row for rendered in ready.rendered.values() for row in rendered.report.dropped]
    if dropped:
        told.append(f"{len(dropped)} rows exceed train.sequence_len and are left out: {', '.join(dropped[:3])}")
    if empty:
        told.append(f"{len(empty)} rows have no token to learn and are left out: {', '.join(empty[:3])}")
    unlike = [row for rendered in ready.rendered.values() for row in rendered.report.unlike_prompt]
    if unlike:
        told.append(f"{len(unlike)} rows have an answer that begins elsewhere than a prompt ends, as the chat template "
                    f"has it: {', '.join(unlike[:3])}")  # fmt: skip
    if ready.files.quantised:
        told.append(
            f"the base's weights come from a {ready.files.quantised} file: its quality is that of the quantised model"
        )
    if ready.files.number_format != "float32":
        told.append(f"the base is quantised to {BITS[ready.files.number_format]} before it is used; what is measured, "
                    "of the base and of the tuned model, is measured on these weights")  # fmt: skip
    precision, machine = ready.recipe.train.precision, ready.facts.machine
    if precision != "float32" and ready.recipe.machine.device == "cpu":
        slow = precision == "float16" or not machine.bfloat16
        told.append(f"train.precision: {precision} on a CPU" + (
            " that has no instructions for it is many times slower than float32" if slow else
            " is rounded to three digits; float32 is exact"))  # fmt: skip
    family = str(ready.files.config["model_type"])
    if not packs(family):
        told.append(
            f"{family} models cannot be packed: rows are padded, common beginnings are computed for each row, and "
            "decoding reads the whole row again for every token"
        )
    return told
