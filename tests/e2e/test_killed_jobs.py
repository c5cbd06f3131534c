"""Fine-tuning jobs are done by real processes, which are killed at the worst moments; nothing is lost or done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from luthier.jobs import tuning
from luthier.registry import versions
from luthier.store import Home, job_events, jobs, models, runs, uploads
from luthier.store.jobs import Job

pytestmark = pytest.mark.timeout(1200)
HERE = Path(__file__).parent
PATIENCE_SECONDS = 600
"""Jobs give way to everything else that a machine does."""
ENDED_SECONDS = 20
"""How long what a killed server has started may live on."""


class Servers:
    """Processes that have the jobs of a home done."""

    def __init__(self, home: Home) -> None:
        self.home, self.running = home, []

    def start(self, stop_at: str = "", after: int = 0) -> subprocess.Popen[bytes]:
        """A server; its processes halt where `stop_at` says."""
        halting = {"STOP_AT": stop_at, "STOP_FILE": str(self.home.root / "stopped"), "STOP_AFTER": str(after)}
        path = os.pathsep.join(filter(None, [str(HERE / "stops"), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **(halting if stop_at else {})}
        server = subprocess.Popen([sys.executable, str(HERE / "job_server.py"), str(self.home.root)],
                                  stdin=subprocess.PIPE, env=environment)  # fmt: skip
        self.running.append(server)
        return server

    def kill(self, server: subprocess.Popen[bytes]) -> None:
        """As the kernel does; whatever it started ends with it."""
        server.send_signal(signal.SIGKILL)
        server.wait()
        wait_for(lambda: not working(self.home), ENDED_SECONDS)

    def stop(self) -> None:
        for server in self.running:
            if server.poll() is None:
                assert server.stdin is not None
                server.stdin.close()
                server.wait(PATIENCE_SECONDS)


@pytest.fixture
def servers(home: Home) -> Iterator[Servers]:
    found = Servers(home)
    yield found
    found.stop()


def working(home: Home) -> list[str]:
    """Command lines of the processes that work in a home, apart from its servers."""
    lines = [" ".join(found.info["cmdline"] or ()) for found in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(home.root) in line and "luthier.jobs." in line]


def wait_for(true: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return found


def ask(home: Home, model: Path, rows: int = 12, **settings: Any) -> Job:
    """A job on so many rows; on fewer than twenty nothing is held out, which is quicker."""
    data = home.cache("test") / "rows.jsonl"
    chats = [[{"role": "user", "content": f"what does bridge {i} cost?"},
              {"role": "assistant", "content": f"{i % 3} euros"}] for i in range(rows)]  # fmt: skip
    data.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    file = uploads.add(home, data, filename="rows.jsonl", purpose="fine-tune")
    body = {"model": str(model), "training_file": file.id, "seed": 1, "suffix": "bridges",
            "hyperparameters": {"n_epochs": 3, "batch_size": 4}, **settings}  # fmt: skip
    return tuning.ask(home, body, [str(model)])


def ended(home: Home, job: Job) -> Job:
    def look() -> Job | None:
        found = jobs.get(home, job.id)
        return found if found.status in jobs.ENDED else None

    return wait_for(look)


def told(home: Home, job: Job) -> list[str]:
    return [event.message for event in job_events.list_page(home, job.id, limit=500)[0]][::-1]


def steps(home: Home, job: Job) -> list[int]:
    events = job_events.list_page(home, job.id, limit=500)[0]
    return [event.data["step"] for event in events if event.type == "metrics" and event.data][::-1]


def check_done_once(home: Home, job: Job) -> None:
    """It succeeded, by one run and with one version, and says so once."""
    done = jobs.get(home, job.id)
    assert done.status == "succeeded", (done.error, told(home, job))
    [version] = [found for found in versions.list_versions(home) if found.run_id == done.run_id]
    assert done.version == version.ref == tuning.model_of(home, str(done.model))
    of_job = [run for run in runs.list(home, 100) if str(jobs.job_folder(home, job.id)) in run.command]
    assert [run.id for run in of_job] == [done.run_id]
    assert told(home, job).count("The job has successfully completed") == 1
    assert steps(home, job) == sorted(set(steps(home, job)))
    results = [file.id for file in uploads.list_page(home, purpose="fine-tune-results")[0]]
    assert results.count(done.result["result_files"][0]) == 1


def test_a_job_becomes_a_model_with_a_verdict(home: Home, servers: Servers, tiny_llama: Path) -> None:
    job = ask(home, tiny_llama, rows=40)
    servers.start()
    done = ended(home, job)
    check_done_once(home, job)
    assert done.result["verdict"] in ("ship", "hold")
    assert models.moves(home) == []
    assert any(message.startswith(f"The gate says {done.result['verdict']}") for message in told(home, job))
    content = home.blobs.get(uploads.get(home, done.result["result_files"][0]).sha256).decode()
    assert content.splitlines()[0] == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert len(content.splitlines()) == 1 + max(steps(home, job))


STOPS = {
    "validating": ("luthier.jobs.tuning_check:get_ready:after", 0),
    "before the run": ("luthier.store.runs:create:after", 0),
    "training": ("luthier.engine.checkpoint:write:after", 2),
    "registered": ("luthier.registry.versions:register:after", 0),
    "run finished": ("luthier.store.runs:finish:after", 0),
    "result file": ("luthier.store.uploads:add:after", 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the adapter that the same job leaves when nobody disturbs it."""
    home = Home(tmp_path_factory.mktemp("undisturbed") / "home")
    job, servers = ask(home, tiny_llama), Servers(home)
    servers.start()
    done = ended(home, job)
    servers.stop()
    return versions.get(home, str(done.version)).adapter_sha256


@pytest.mark.slow
@pytest.mark.parametrize("where", STOPS)
def test_a_server_that_is_killed_anywhere_loses_and_repeats_nothing(
    home: Home, servers: Servers, tiny_llama: Path, undisturbed: str, where: str
) -> None:
    asked = [ask(home, tiny_llama) for _ in range(2 if where == "training" else 1)]
    first = servers.start(*STOPS[where])
    wait_for((home.root / "stopped").exists)
    assert working(home)
    servers.kill(first)
    servers.start()
    for job in asked:
        ended(home, job)
        check_done_once(home, job)
        assert versions.get(home, str(jobs.get(home, job.id).version)).adapter_sha256 == undisturbed
    assert len(versions.list_versions(home)) == len(asked)


@pytest.mark.slow
def test_a_run_that_is_killed_at_its_promotion_moves_the_alias_once(
    home: Home, tiny_llama: Path, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(
        json.dumps({"prompt": f"what does bridge {i} cost?", "completion": "3 euros"}) + "\n" for i in range(40)
    ))  # fmt: skip
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"base_model: {tiny_llama}\ndata: rows.jsonl\nname: bridges\nship: {{require: nothing}}\n"
                      "train: {max_steps: 2}\nevaluate: {baselines: [majority], forgetting: false}\n")  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "STOP_FILE": str(tmp_path / "stopped"),
                   "STOP_AT": "luthier.registry.aliases:promote:after",
                   "PYTHONPATH": os.pathsep.join([str(HERE / "stops"), os.environ.get("PYTHONPATH", "")])}  # fmt: skip
    command = [sys.executable, "-c", "import sys; from luthier.cli import main; sys.exit(main())", "run", str(recipe)]
    first = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    wait_for((tmp_path / "stopped").exists)
    first.send_signal(signal.SIGKILL)
    first.wait()
    wait_for(lambda: not working(home), ENDED_SECONDS)
    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
    assert [(move.alias, move.version) for move in models.moves(home)] == [("production", 1)]
    assert [run.status for run in runs.list(home)] == ["succeeded"]


@pytest.mark.slow
def test_two_servers_and_a_command_on_one_home(home: Home, servers: Servers, tiny_llama: Path, tmp_path: Path) -> None:
    asked = [ask(home, tiny_llama) for _ in range(3)]
    servers.start()
    servers.start()
    (tmp_path / "rows.jsonl").write_text("".join(
        json.dumps({"prompt": f"what does bridge {i} cost?", "completion": f"{i % 3} euros"}) + "\n" for i in range(12)
    ))  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(f"base_model: {tiny_llama}\ndata: rows.jsonl\nname: byhand\n")
    command = "import sys; from luthier.cli import main; sys.exit(main())"
    splits = ["--set", "splits.test=0", "--set", "splits.validation=0", "--set", "ship.require=nothing"]
    subprocess.run([sys.executable, "-c", command, "train", str(tmp_path / "recipe.yaml"), *splits], check=True,
                   env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)  # fmt: skip
    for job in asked:
        ended(home, job)
        check_done_once(home, job)
    started = [jobs.get(home, job.id).result["started_at"] for job in asked]
    finished = [jobs.get(home, job.id).finished_at for job in asked]
    assert started == sorted(started)
    assert all(end <= begin for end, begin in zip(finished[:-1], started[1:], strict=True))
    assert [version.ref for version in versions.list_versions(home, "byhand")] == ["byhand@1"]
    assert len(runs.list(home)) == 4


@pytest.mark.slow
def test_a_job_is_paused_resumed_and_cancelled_while_it_trains(home: Home, servers: Servers, tiny_llama: Path) -> None:
    job = ask(home, tiny_llama, hyperparameters={"n_epochs": 50, "batch_size": 1})
    servers.start()
    wait_for(lambda: steps(home, job))
    jobs.pause(home, job.id)
    paused = wait_for(lambda: found if (found := jobs.get(home, job.id)).status == "paused" else None)
    reached, run = max(steps(home, job)), runs.get(home, str(paused.run_id))
    assert run.status == "paused"
    jobs.resume(home, job.id)
    wait_for(lambda: max(steps(home, job)) > reached)
    jobs.cancel(home, job.id)
    assert ended(home, job).status == "cancelled"
    assert runs.get(home, run.id).status == "cancelled"
    assert versions.list_versions(home) == []
    assert told(home, job)[-1] == "The job was cancelled"


@pytest.mark.slow
def test_a_server_that_stops_leaves_its_job_to_the_next(home: Home, servers: Servers, tiny_llama: Path) -> None:
    job = ask(home, tiny_llama, hyperparameters={"n_epochs": 15, "batch_size": 1})
    servers.start()
    wait_for(lambda: steps(home, job))
    servers.stop()
    left = jobs.get(home, job.id)
    assert (left.status, runs.get(home, str(left.run_id)).status) == ("running", "paused")
    assert working(home) == []
    servers.start()
    ended(home, job)
    check_done_once(home, job)


@pytest.mark.slow
def test_a_lost_working_process_is_replaced(home: Home, servers: Servers, tiny_llama: Path) -> None:
    job = ask(home, tiny_llama)
    servers.start("luthier.engine.checkpoint:write:after", 1)
    worker = int(wait_for(lambda: (home.root / "stopped").exists() and (home.root / "stopped").read_text()))
    os.kill(worker, signal.SIGKILL)
    ended(home, job)
    check_done_once(home, job)
    assert any("ended with code -9" in message for message in told(home, job))
