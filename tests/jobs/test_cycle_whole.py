"""The whole way on a tiny model: a version in service, traces, feedback, and cycles that really train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from traces import chat_trace
from works import recipe

from luthier.feedback.receive import receive
from luthier.jobs import processes, work
from luthier.jobs.cycle import cycle
from luthier.jobs.run import run
from luthier.registry import aliases, versions
from luthier.store import Home

ROWS = [{"prompt": f"what does bridge {i} cost?", "completion": f"{i % 3} euros"} for i in range(40)]
SETTINGS: dict[str, Any] = {
    "name": "bridges",
    "train": {"max_steps": 4, "batch_size": 4, "learning_rate": 1e-2, "rehearsal": 0},
    "evaluate": {"baselines": ["base"], "forgetting": False, "max_new_tokens": 4, "metrics": ["exact_match", "nll"]},
    "ship": {"require": "not_worse", "margin": 1.0},
}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are worked on in this process."""

    def work_here(home: Home, run_id: str, reporter: Any, lock: Any, count: int) -> int:
        work.work_on(home.root, run_id, reporter, lambda fitting: None)
        return 0

    monkeypatch.setattr(processes, "work", work_here)


def say(home: Home, start: int, served: str) -> None:
    """Five corrections, one of which somebody else disagrees with, and a low rating."""
    for number in range(start, start + 5):
        name = chat_trace(home, f"c{number}", f"what does lute {number} cost?", "ask the luthier", served=served)
        receive(home, [{"trace_id": name, "kind": "correction", "value": f"{number % 3} euros", "rater": "ana"}])
    receive(home, [
        {"trace_id": f"c{start}", "kind": "rating", "value": "down"},
        {"trace_id": chat_trace(home, f"d{start}", f"what does post {start} cost?", "no", served=served),
         "kind": "rating", "value": 1},
    ])  # fmt: skip


class Killed(BaseException):
    """The end of the process."""


@pytest.mark.slow
def test_from_traces_to_a_promoted_version_and_back(
    home: Home, tiny_llama: Path, tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipe(tmp_path, tiny_llama, ROWS, **SETTINGS)
    first = run(path, (), home)
    assert aliases.current(home) == {"bridges@production": 1}
    say(home, 100, "bridges@1")

    with monkeypatch.context() as patch:
        patch.setattr(work, "write_json", dying_at("document.json", work.write_json))
        with pytest.raises(Killed):
            cycle(path, (), home)
    assert aliases.current(home) == {"bridges@production": 2}, "killed between the promotion and its record"
    document = cycle(path, (), home)

    assert (document["outcome"], document["before"], document["in_service"]) == ("promoted", "bridges@1", "bridges@2")
    assert document["feedback"] == {
        "total": 7, "new": 7, "used": 6, "left": {"rated low, and nobody says what is right": 1},
    }  # fmt: skip
    assert (document["rows"], document["held_out"]) == (5, first["dataset_version"])
    assert document["against_in_service"].keys() == {"exact_match", "nll"}
    tested = first["data"]["splits"]["test"]
    assert document["against_in_service"]["nll"]["n"] == tested
    assert document["solvers"]["in_service"] == first["tuned"], "the same answers to the same rows"
    assert [move.version for move in aliases.history(home)] == [1, 2]
    page = Path(document["report"]).read_text()
    for told in ("Version in service", "bridges@1", "made of feedback", "against the version in service"):
        assert told in page
    lineage = versions.lineage(home, "bridges@2")["dataset"]["parents"]
    assert [one["id"] for one in lineage] == [document["dataset"], first["dataset_version"]]
    assert [one["id"] for one in lineage[0]["parents"]] == [first["dataset_version"]]
    assert cycle(path, (), home)["outcome"] == "nothing_new"

    say(home, 200, "bridges@2")
    held = cycle(path, ("ship.require=better", "ship.margin=0.01"), home)
    assert (held["cycle"], held["outcome"], held["version"], held["in_service"]) == (
        2,
        "held",
        "bridges@3",
        "bridges@2",
    )
    assert (held["rows"], held["held_out"]) == (10, versions.get(home, "bridges@2").dataset_version)
    assert any("version in service" in reason for reason in held["reasons"])
    aliases.rollback(home, "bridges@production")
    assert versions.get(home, "production").ref == "bridges@1"


def dying_at(name: str, write: Any) -> Any:
    def dying(path: Path, value: Any) -> None:
        if path.name == name:
            raise Killed
        write(path, value)

    return dying
