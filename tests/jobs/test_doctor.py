"""What the doctor finds wrong, on homes and machines that are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from luthier.jobs import abilities, doctor, installed
from luthier.jobs.answering import Answering
from luthier.jobs.installed import Package
from luthier.recipe import MachineFacts
from luthier.store import Home, runs
from luthier.store.files import Lock

MACHINE = MachineFacts(cores=2, memory_bytes=20 << 30, device="cpu", gemm_gflops=100.0)
LLAMA = {
    "model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "vocab_size": 49152,
    "max_position_embeddings": 8192,
}  # fmt: skip


def started(home: Home) -> str:
    row = runs.create(home, name="tickets", recipe={}, recipe_sha256="ab", command="luthier run r.yaml")
    runs.set_status(home, row.id, "running")
    return row.id


def test_a_run_that_nobody_works_on_lies(home: Home) -> None:
    run_id = started(home)
    problems, lying, strays = doctor.of_database(home)
    assert (problems, strays) == ([], [])
    assert [(run.run_id, run.status, run.command) for run in lying] == [(run_id, "running", "luthier run r.yaml")]
    with Lock(runs.lock_path(home, run_id)):
        assert doctor.of_database(home)[1] == []
    runs.finish(home, run_id, {})
    assert doctor.of_database(home)[1] == []


def test_a_lock_that_outlived_its_process_is_found(home: Home) -> None:
    path = runs.lock_path(home, started(home))
    program = (
        "import os, subprocess, sys; from pathlib import Path; from luthier.store.files import Lock\n"
        f"lock = Lock(Path({str(path)!r})).__enter__()\n"
        "quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}\n"
        "child = subprocess.Popen(['sleep', '60'], pass_fds=[lock.fileno()], **quiet)\n"
        "print(child.pid)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    try:
        (problem,) = doctor.of_database(home)[2]
        assert "is locked by something that process" in problem.what
        assert f"fuser -v {path}" in problem.mend
    finally:
        os.kill(int(done.stdout), signal.SIGKILL)


def test_a_run_without_its_folder_cannot_go_on(home: Home) -> None:
    runs.run_folder(home, started(home)).rmdir()
    (problem,) = doctor.of_database(home)[2]
    assert "is not in this home" in problem.what


def test_a_database_that_is_none_must_be_mended(home: Home) -> None:
    home.root.mkdir()
    (home.root / "luthier.db").write_bytes(b"not a database" * 1000)
    document = doctor.examine(home)
    assert not document["healthy"]
    first = document["problems"][0]
    assert first["needed"]
    assert "not a database" in first["what"]
    assert "Restore it" in first["mend"]


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    home = Home(tmp_path, database_url="postgresql://me:secret@db/luthier")
    assert "secret" not in doctor.database_of(home)


def test_a_folder_that_may_not_be_written_to_must_be_mended(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (problem,) = doctor.of_blobs(Home(tmp_path))
    assert problem.needed
    assert "LUTHIER_HOME" in problem.mend


@pytest.mark.parametrize(("free", "needed"), [(1 << 30, False), (1 << 20, True)])
def test_a_full_disk_is_said(home: Home, monkeypatch: pytest.MonkeyPatch, free: int, needed: bool) -> None:
    monkeypatch.setattr(doctor, "free_disk", lambda root: free)
    (problem,) = doctor.of_room(home, MACHINE)
    assert "free where the home lies" in problem.what
    assert problem.needed is needed
    assert len(list(doctor.of_room(home, replace(MACHINE, memory_bytes=1 << 30)))) == 2


def test_a_package_that_is_too_old_must_be_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(doctor.of_packages()) == []
    monkeypatch.setattr(
        installed, "core", lambda: [Package("torch", ">=99", "2.13.0"), Package("peft", ">=0.19", None)]
    )
    old, absent = doctor.of_packages()
    assert old.mend == "pip install 'torch>=99'"
    assert "2.13.0 is installed; torch>=99 is needed" in old.what
    assert "peft is not installed" in absent.what
    assert old.needed
    assert absent.needed


def test_every_extra_is_described() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) - {"dev"} == set(installed.EXTRAS)


def test_an_extra_is_missing_where_one_of_its_packages_is() -> None:
    found = doctor.extra("s3", [Package("s3fs", ">=2025.3", None), Package("fsspec", ">=2025.3", "2026.1")])
    assert found["missing"] == ["s3fs"]
    assert found["install"] == "pip install 'luthier[s3]'"
    assert doctor.extra("s3", [Package("s3fs", ">=2025.3", "2026.2.0")])["install"] is None


def test_four_bits_take_less_memory_and_more_weights_more_time() -> None:
    found = {each.method: each for each in abilities.abilities("smol", LLAMA, 134_515_008, MACHINE)}
    assert list(found) == list(abilities.BY_KIND["decoder"])
    lora, full, four = (found[name] for name in (abilities.LORA, abilities.FULL, abilities.FOUR_BIT))
    assert four.memory_bytes < lora.memory_bytes < full.memory_bytes
    assert lora.tokens_per_second > full.tokens_per_second
    assert all(each.fits for each in found.values())


def test_a_model_that_is_too_large_does_not_fit() -> None:
    small = replace(MACHINE, memory_bytes=2 << 30)
    fits = {each.method: each.fits for each in abilities.abilities("smol", LLAMA, 134_515_008, small)}
    assert fits[abilities.FULL] is False


def test_a_base_that_has_gone_is_a_problem(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "bases", lambda home: {"/nowhere/model": "tickets@3"})
    can, (problem,) = doctor.trainable(home, MACHINE)
    assert can == []
    assert problem.what == "tickets@3 stands on /nowhere/model: the model `/nowhere/model` is not on this machine"


def test_a_silent_hub_is_said_only_when_asked(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.models.hub.hub_silence", lambda: "timed out")
    monkeypatch.setattr(doctor, "bases", lambda home: {})
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert doctor.examine(home)["problems"] == []
    (problem,) = doctor.examine(home, network=True)["problems"]
    assert "timed out" in problem["what"]
    assert not problem["needed"]


def test_models_answer_only_when_asked(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def measured(home: Home, names: list[str], note: doctor.Note) -> tuple[list[Answering], dict[str, str]]:
        asked.extend(names)
        return [Answering("smol", "torch", 1 << 30, 15.0, 60.0)], {"old@1": "its files have gone"}

    monkeypatch.setattr("luthier.jobs.answering.measured", measured)
    monkeypatch.setattr(doctor, "trainable", lambda home, machine: ([], []))
    assert doctor.examine(home)["answering"] == []
    assert asked == []
    document = doctor.examine(home, measure=True)
    assert document["answering"][0]["together_tokens_per_second"] == 60.0
    assert {"smollm2-135m-instruct", "all-minilm-l6-v2"} <= set(asked)
    assert any(problem["what"] == "old@1 cannot be served: its files have gone" for problem in document["problems"])
