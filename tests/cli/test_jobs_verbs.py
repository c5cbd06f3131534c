"""`luthier jobs` over a real home."""

from __future__ import annotations

import json

import pytest

from luthier.cli import main
from luthier.store import Home, jobs
from luthier.store.jobs import Job, Note


@pytest.fixture
def job(home: Home) -> Job:
    request = {"base_model": "tiny", "metadata": None}
    return jobs.create(home, kind="fine_tune", prefix="ftjob", status="validating_files", request=request,
                       note=Note("made"))  # fmt: skip


def test_an_empty_home_says_how_jobs_come(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "list"]) == 0
    assert "POST /v1/fine_tuning/jobs" in capsys.readouterr().out


def test_jobs_are_listed_and_shown(home: Home, job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.move(home, job.id, "queued", Note("waits for\x1b[2J the device"))
    main(["jobs", "list"])
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == [job.id, "queued"]
    main(["jobs", "list", "--json"])
    assert json.loads(capsys.readouterr().out)["jobs"][0]["base_model"] == "tiny"
    main(["jobs", "show", job.id])
    out = capsys.readouterr().out
    assert "made" in out
    assert "waits for\\x1b[2J the device" in out
    main(["jobs", "show", job.id, "--json"])
    assert json.loads(capsys.readouterr().out)["events"][0]["message"] == "made"


def test_a_job_is_cancelled_once(home: Home, job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "cancel", job.id]) == 0
    assert capsys.readouterr().out == "cancelled\n"
    assert main(["jobs", "cancel", job.id]) == 2
    assert "cannot be cancelled" in capsys.readouterr().err
    assert main(["jobs", "show", "ftjob-nosuch"]) == 2
