"""What is said of the machine."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version

import pytest

from luthier.jobs import machine
from luthier.jobs.machine import environment, gemm_gflops, machine_facts
from luthier.recipe import MachineFacts


def test_the_facts_are_those_of_this_machine() -> None:
    import psutil

    facts = machine_facts()
    assert facts.cores == len(os.sched_getaffinity(0))
    assert 0 < facts.memory_bytes <= psutil.virtual_memory().total
    assert facts.device in ("cpu", "cuda")
    assert facts.gemm_gflops > 0.1


def test_the_speed_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 2.0, 10.0, 10.5, 20.0, 21.0])
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(times))
    assert gemm_gflops(size=100, times=3) == pytest.approx(2 * 100**3 / 0.5 / 1e9)


def test_the_environment_names_versions_and_hardware() -> None:
    found = environment(MachineFacts(cores=3, memory_bytes=5, device="cpu", gemm_gflops=123.456))
    assert (found["cores"], found["device"], found["gemm_gflops"]) == (3, "cpu", 123.5)
    assert found["python"] == sys.version.split()[0]
    assert {name: found[name] for name in ("torch", "transformers", "peft")} == {
        name: version(name) for name in ("torch", "transformers", "peft")
    }
    assert found["cpu"]
    assert found["memory_bytes"] > 1e8
    assert json.loads(json.dumps(found)) == found


def test_a_package_that_is_missing_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PACKAGES", ("torch", "no-such-package"))
    found = environment(MachineFacts(1, 1, "cpu", 1.0))
    assert found["no-such-package"] == "not installed"


@pytest.mark.parametrize(("line", "known"), [
    ("flags\t\t: fpu avx512f avx512_bf16", True), ("flags : fpu avx2", False), ("Features : fp asimd bf16", True),
])  # fmt: skip
def test_a_cpus_flags_say_whether_it_knows_bfloat16(line: str, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.Path, "read_text", lambda path: f"model name : any\n{line}\n")
    monkeypatch.setattr(machine.Path, "exists", lambda path: True)
    assert bool(machine._cpu_flags() & machine.BFLOAT16_FLAGS) is known
