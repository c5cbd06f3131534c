"""The whole wheel with an unmodified openai client: upload, job, chat, feedback, cycle, the same alias; killed on the
way, and started again."""

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

import httpx
import openai
import pytest

from luthier.registry import aliases, versions
from luthier.store import Home, models

ROWS = [
    {"messages": [{"role": "user", "content": f"what does bridge {i} cost?"},
                  {"role": "assistant", "content": f"{i % 3} euros"}]}
    for i in range(40)
]  # fmt: skip
LUTHIER = str(Path(sys.executable).with_name("luthier"))
PATIENCE_SECONDS = 600
"""A job gives way to everything else that the machine does."""
CYCLE = ("ship.alias=production", "ship.require=not_worse", "ship.margin=1.0", "evaluate.forgetting=false",
         "evaluate.baselines=[base]", "train.max_steps=4")  # fmt: skip


class Up:
    """`luthier up` on a free port, and clients of it."""

    def __init__(self, home: Home, base: Path) -> None:
        self.home, self.base = home, base
        self.start()

    def start(self) -> None:
        command = [LUTHIER, "up", str(self.base), "--port", "0", "--engine", "torch", "--json"]
        environment = {**os.environ, "LUTHIER_HOME": str(self.home.root), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["url"]
        self.client = openai.OpenAI(base_url=self.url, api_key="none")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


@pytest.fixture
def up(home: Home, tiny_llama: Path) -> Iterator[Up]:
    server = Up(home, tiny_llama)
    yield server
    server.stop()


def wait_for(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := true()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_wheel_turns(up: Up, home: Home, tiny_llama: Path, tmp_path: Path) -> None:
    job = job_that_outlives_its_server(up, tiny_llama, tmp_path)
    assert [version.ref for version in versions.list_versions(home)] == ["bridges@1"]
    messages = {event.message for event in up.client.fine_tuning.jobs.list_events(job.id)}
    assert any("started" in message.lower() or "running" in message.lower() for message in messages)
    aliases.promote(home, "bridges@1", "production", "first")
    answers = said(up, job.fine_tuned_model)
    correct(up, answers)
    recipe = home.root / "jobs" / job.id / "recipe.yaml"
    document = cycled(home, recipe)
    assert document["version"] == "bridges@2"
    assert (document["outcome"], aliases.current(home)["bridges@production"]) == ("promoted", 2)
    assert len(models.moves(home, alias="production")) == 2
    answer = up.client.chat.completions.with_raw_response.create(
        model="bridges@production", messages=[{"role": "user", "content": "what does bridge 1 cost?"}], max_tokens=4
    )
    assert answer.http_response.status_code == 200
    traced = wait_for(lambda: trace_of(home, answer.parse().id))
    assert traced == "bridges@2"
    assert cycled(home, recipe)["outcome"] == "nothing_new"


def job_that_outlives_its_server(up: Up, base: Path, tmp_path: Path) -> Any:
    """A job whose server is killed while it runs; the next server brings it to its end."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    file = up.client.files.create(file=path, purpose="fine-tune")
    job = up.client.fine_tuning.jobs.create(
        model=str(base), training_file=file.id, suffix="bridges", seed=1,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 8}}},
    )  # fmt: skip
    wait_for(lambda: up.client.fine_tuning.jobs.retrieve(job.id).status == "running")
    up.kill()
    up.start()
    done = wait_for(lambda: ended(up.client.fine_tuning.jobs.retrieve(job.id)))
    assert (done.status, done.error) == ("succeeded", None)
    assert up.client.fine_tuning.jobs.checkpoints.list(job.id).data
    return done


def ended(job: Any) -> Any:
    return job if job.status in ("succeeded", "failed", "cancelled") else None


def said(up: Up, model: str) -> list[str]:
    """Ids of answers: whole ones, and one that came in pieces."""
    ids = []
    for number in range(5):
        messages: Any = [{"role": "user", "content": f"what does lute {number} cost?"}]
        if number:
            ids.append(up.client.chat.completions.create(model=model, messages=messages, max_tokens=4).id)
        else:
            chunks = list(up.client.chat.completions.create(model=model, messages=messages, max_tokens=4, stream=True))
            assert chunks[-1].choices[0].finish_reason in ("stop", "length")
            ids.append(chunks[0].id)
    return ids


def correct(up: Up, ids: list[str]) -> None:
    for number, name in enumerate(ids):
        given = {"trace_id": name, "kind": "correction", "value": f"{number % 3} euros", "rater": "ana"}
        reply = httpx.post(f"{up.url}/feedback", json=given, headers={"Authorization": "Bearer none"})
        assert reply.status_code == 200, reply.text


def cycled(home: Home, recipe: Path) -> dict[str, Any]:
    settings = [part for text in CYCLE for part in ("--set", text)]
    command = [LUTHIER, "cycle", str(recipe), *settings, "--json"]
    out = subprocess.run(command, env={**os.environ, "LUTHIER_HOME": str(home.root), "OMP_NUM_THREADS": "1"},
                         capture_output=True, text=True, check=False)  # fmt: skip
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout)


def trace_of(home: Home, name: str) -> str | None:
    """The version that answered, once the trace is written."""
    from luthier.store import traces

    found = traces.get(home, name)
    return found and found.served
