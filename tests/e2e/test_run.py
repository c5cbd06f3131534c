"""The whole job on tiny models, as a user starts it: one run of each kind, looked at from all sides."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

LUTHIER = [sys.executable, "-c", "import sys; from luthier.cli import main; sys.exit(main())"]
PROMISED = {
    "run_id", "status", "verdict", "reasons", "model", "adapter_path", "report", "base", "tuned", "delta", "forgetting",
    "tokens_per_second", "peak_memory_bytes", "wall_seconds", "dataset_version",
}  # fmt: skip
CHAT = """
name: bridges
base_model: {model}
data: rows.jsonl
train: {{batch_size: 4, num_epochs: 3, learning_rate: 1e-2, save_steps: 2, eval_steps: 6}}
evaluate: {{max_new_tokens: 8, metrics: [exact_match, nll], forgetting: false}}
machine: {{threads: 1, memory: 4GB}}
"""
CLASSES = """
base_model: {model}
data: rows.csv
adapter: {adapter}
objective: classify
train: {{num_epochs: {epochs}}}
machine: {{threads: 1, memory: 4GB}}
"""


def luthier(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LUTHIER_HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*LUTHIER, *arguments], env=environment, capture_output=True, text=True, check=False)


def chat_recipe(folder: Path, model: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"prompt": f"what does bridge {i} cost?", "completion": f"{i % 3} euros"} for i in range(90)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(CHAT.format(model=model))
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def done(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """A finished run: its home, its recipe and its document."""
    folder = tmp_path_factory.mktemp("chat")
    recipe = chat_recipe(folder / "work", tiny_llama)
    ended = luthier(folder / "home", "run", str(recipe), "--json")
    assert ended.returncode == 0, ended.stderr[-3000:]
    return folder / "home", recipe, json.loads(ended.stdout)


def test_the_document_has_what_is_promised(done) -> None:
    _, _, document = done
    assert document.keys() >= PROMISED
    assert document["verdict"] in ("ship", "hold")
    assert document["reasons"]
    assert document["base"]["exact_match"].keys() == {"value", "low", "high", "n"}
    assert document["delta"]["exact_match"].keys() >= {"value", "low", "high", "p"}
    assert document["tuned"]["nll"]["value"] < document["base"]["nll"]["value"]


def test_the_same_document_is_shown_again(done) -> None:
    home, _, document = done
    shown = luthier(home, "runs", "show", "latest", "--json")
    assert json.loads(shown.stdout) == document


def test_what_a_run_leaves_behind(done) -> None:
    home, _, document = done
    page = Path(document["report"]).read_text()
    assert document["run_id"] in page
    assert "<script src" not in page
    assert {path.name for path in Path(document["adapter_path"]).iterdir()} >= {
        "adapter_config.json", "adapter_model.safetensors", "luthier.json"}  # fmt: skip
    lineage = json.loads(luthier(home, "models", "lineage", document["model"], "--json").stdout)
    assert document["run_id"] in json.dumps(lineage)
    assert document["dataset_version"] in json.dumps(lineage)
    assert document["lineage"]["merge_logit_difference"] < 1e-5


def test_every_test_answer_is_kept_and_none_was_trained_on(done) -> None:
    from luthier.data import version
    from luthier.evaluate.scores import Scores
    from luthier.store import Home

    home, _, document = done
    run = Path(document["adapter_path"]).parent
    scores = Scores.from_jsonl((run / "scores" / "tuned.jsonl").read_text())
    assert len(scores.samples) == document["data"]["splits"]["test"]
    train, test = (version.read(Home.open(home), document["dataset_version"], s) for s in ("train", "test"))
    assert not {row.input_id for row in train} & {row.input_id for row in test}


def test_the_adapter_loads_in_plain_peft_with_the_same_logits(done, tiny_llama: Path) -> None:
    from peft import PeftModel
    from policies import files_of, language_rows
    from transformers import AutoModelForCausalLM

    from luthier.data.batch import pack
    from luthier.models.load import load_policy

    adapter = Path(done[2]["adapter_path"])
    policy = load_policy(files_of(tiny_llama), adapter)
    row = language_rows()[0]
    with policy.evaluating():
        ours = policy.vocab_logits(policy.hidden(pack([row])))
        plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama), adapter).eval()
        theirs = plain(torch.from_numpy(row.ids)[None]).logits[0]
        base = plain.get_base_model()
        with plain.disable_adapter():
            untuned = base(torch.from_numpy(row.ids)[None]).logits[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert (theirs - untuned).abs().max() > 1e-2


def test_a_killed_run_goes_on_and_ends_the_same(done, tiny_llama: Path, tmp_path: Path) -> None:
    _, recipe, document = done
    environment = os.environ | {"LUTHIER_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen([*LUTHIER, "run", str(recipe), "--json"], env=environment, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)  # fmt: skip
    wait_for(lambda: list((tmp_path / "home").glob("runs/*/checkpoints/step-*")))
    first.send_signal(signal.SIGKILL)
    first.wait()
    again = luthier(tmp_path / "home", "run", str(recipe), "--json")
    assert again.returncode == 0, again.stderr[-3000:]
    (run,) = (tmp_path / "home" / "runs").iterdir()
    assert json.loads(again.stdout)["run_id"] == run.name
    for name in ("weights", "optimizer"):
        left, right = (
            newest(folder) / f"{name}.safetensors" for folder in (Path(document["adapter_path"]).parent, run)
        )
        a, b = load_file(left), load_file(right)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    versions = json.loads(luthier(tmp_path / "home", "models", "list", "--json").stdout)
    assert json.dumps(versions).count(run.name) == 1


def test_the_same_command_on_a_finished_run_starts_another(done) -> None:
    home, recipe, document = done
    ended = luthier(home, "train", str(recipe), "--json", "--set", "train.max_steps=2")
    assert ended.returncode == 0, ended.stderr[-3000:]
    other = json.loads(ended.stdout)
    assert other["run_id"] != document["run_id"]
    assert other["model"] == "bridges@2"
    changed = json.loads(luthier(home, "runs", "diff", document["run_id"], other["run_id"], "--json").stdout)
    assert "train.max_steps" in json.dumps(changed)


@pytest.mark.parametrize(("adapter", "epochs"), [("head", 10), ("full", 1)])
def test_classification(tiny_bert: Path, tmp_path: Path, adapter: str, epochs: int) -> None:
    words = {"wood": "the spruce top and the maple back", "money": "what does a bridge cost in euros"}
    lines = [f"{words[label]} number {i},{label}" for i in range(80) for label in words]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    (tmp_path / "recipe.yaml").write_text(CLASSES.format(model=tiny_bert, adapter=adapter, epochs=epochs))
    ended = luthier(tmp_path / "home", "run", str(tmp_path / "recipe.yaml"), "--json")
    assert ended.returncode == 0, ended.stderr[-3000:]
    document = json.loads(ended.stdout)
    assert document["tuned"]["accuracy"]["value"] > 0.9
    assert document["solvers"].keys() == {"base", "few_shot", "classic", "majority", "tuned"}
    measured = luthier(tmp_path / "home", "evaluate", document["model"], str(tmp_path / "rows.csv"), "--json")
    assert measured.returncode == 0, measured.stderr[-3000:]
    assert json.loads(measured.stdout)["scores"]["accuracy"]["value"] > 0.9


def wait_for(seen: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*"))
