"""Validation of a fine-tuning job: what is wrong is told with its row, and each `auto` becomes a number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.jobs import tuning
from luthier.jobs.tuning_check import validate
from luthier.store import Home, job_events, jobs, uploads
from luthier.store.jobs import Job, WrongState

CHATS = [{"prompt": f"what does bridge {i} cost?", "completion": f"{i % 3} euros"} for i in range(30)]


def file(home: Home, rows: list[Any], name: str = "rows.jsonl") -> str:
    path = home.cache("test") / "upload"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return uploads.add(home, path, filename=name, purpose="fine-tune").id


def validated(home: Home, model: Path, rows: list[Any], other: list[Any] | None = None, **settings: Any) -> Job:
    given = {"training_file": file(home, rows)} | settings
    if other is not None:
        given["validation_file"] = file(home, other, settings.pop("other_name", "check.jsonl"))
    given.pop("other_name", None)
    job = tuning.ask(home, {"model": str(model), **given}, [str(model)])
    validate(home, job)
    return jobs.get(home, job.id)


def test_a_good_job_is_queued_with_what_auto_became(home: Home, tiny_llama: Path) -> None:
    job = validated(home, tiny_llama, CHATS)
    assert job.status == "queued"
    assert job.result["tested"]
    assert job.result["hyperparameters"]["learning_rate_multiplier"] == 1.0
    assert all(type(job.result["hyperparameters"][key]) is int for key in ("n_epochs", "batch_size"))
    assert sum(job.result["rows"].values()) == 30
    assert "learning_rate:" not in (jobs.job_folder(home, job.id) / "recipe.yaml").read_text()


def test_the_multiplier_scales_the_vetted_rate(home: Home, tiny_llama: Path) -> None:
    rates = []
    for multiplier in (1.0, 3.0):
        job = validated(home, tiny_llama, CHATS, hyperparameters={"learning_rate_multiplier": multiplier})
        text = (jobs.job_folder(home, job.id) / "recipe.yaml").read_text()
        rates.append(float(text.split("learning_rate: ")[1].split()[0]))
    assert rates[1] == pytest.approx(3 * rates[0])


@pytest.mark.parametrize(("rows", "tested"), [(CHATS[:12], False), (CHATS[:1] * 30 + CHATS[:12], False), (CHATS, True)])
def test_rows_are_held_out_where_there_are_enough_different_ones(
    home: Home, tiny_llama: Path, rows: list[Any], tested: bool
) -> None:
    job = validated(home, tiny_llama, rows)
    assert (job.status, job.result["tested"]) == ("queued", tested)
    assert ("test" in job.result["rows"] and job.result["rows"]["test"] > 0) == tested


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*CHATS, "not JSON"], "rows.jsonl:31"),
        ([*CHATS, {"prompt": "what?", "completion": 3}], "rows.jsonl:31"),
        ([{"messages": [{"role": "user", "content": "hello"}]}], "rows.jsonl:1"),
        ([{"colour": "amber"}], "fit no known type"),
        ([{"prompt": "a", "chosen": "b", "rejected": "c"}], "does not learn from"),
        ([{"prompt": "a " * 600, "completion": "b"}], "rows.jsonl:1"),
    ],
)
def test_a_faulty_row_is_named(home: Home, tiny_llama: Path, rows: list[Any], message: str) -> None:
    job = validated(home, tiny_llama, rows)
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["param"]) == ("invalid_training_file", "training_file")
    assert message in job.error["message"]
    assert str(home.root) not in job.error["message"]
    [last, *_] = job_events.list_page(home, job.id)[0]
    assert (last.level, last.message) == ("error", job.error["message"])


@pytest.mark.parametrize("name", ["check.jsonl", "rows.jsonl"])
def test_a_faulty_row_of_the_validation_file(home: Home, tiny_llama: Path, name: str) -> None:
    job = validated(home, tiny_llama, CHATS, [CHATS[0], "{"], other_name=name)
    assert job.error is not None
    assert (job.error["code"], job.error["param"]) == ("invalid_validation_file", "validation_file")
    assert f"{name}:2" in job.error["message"]


def test_pairs(home: Home, tiny_llama: Path) -> None:
    def turn(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    rows = [{"input": {"messages": [{"role": "user", "content": f"bridge {i}?"}]},
             "preferred_output": turn(f"{i} euros"), "non_preferred_output": turn("no")}
            for i in range(12)]  # fmt: skip
    job = validated(home, tiny_llama, rows, method={"type": "dpo"})
    assert job.status == "queued", job.error
    assert job.result["hyperparameters"]["beta"] == 0.1
    wrong = validated(home, tiny_llama, CHATS, method={"type": "dpo"})
    assert wrong.error is not None
    assert "`dpo` needs rows with a chosen and a rejected answer" in wrong.error["message"]


def test_an_encoder_is_refused_before_it_trains(home: Home, tiny_bert: Path) -> None:
    job = validated(home, tiny_bert, CHATS)
    assert job.status == "failed", "an encoder writes no answers"


def test_what_is_not_done_is_said(home: Home, tiny_llama: Path) -> None:
    job = validated(home, tiny_llama, CHATS, integrations=[{"type": "wandb", "wandb": {"project": "p"}}])
    assert ("warn", True) in [(event.level, "Weights & Biases" in event.message)
                              for event in job_events.list_page(home, job.id)[0]]  # fmt: skip


def test_a_job_that_was_cancelled_meanwhile_stays_so(home: Home, tiny_llama: Path) -> None:
    job = tuning.ask(home, {"model": str(tiny_llama), "training_file": file(home, CHATS)}, [str(tiny_llama)])
    jobs.cancel(home, job.id)
    with pytest.raises(WrongState):
        validate(home, job)
    assert jobs.get(home, job.id).status == "cancelled"
