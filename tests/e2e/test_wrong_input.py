"""Wrong input of every kind: exit code 2, one paragraph that says what, where and how, and nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from luthier.cli import main

CHAT = [
    {"messages": [{"role": "user", "content": f"what is {i}?"}, {"role": "assistant", "content": f"it is {i}"}]}
    for i in range(60)
]
CLASSES = [{"text": f"the bridge number {i} is late", "label": "ab"[i % 2]} for i in range(60)]


class Bench:
    """A folder with a good recipe in it, which a case then spoils."""

    def __init__(self, folder: Path, llama: Path, bert: Path) -> None:
        self.folder, self.llama, self.bert = folder, llama, bert
        self.jsonl(CHAT)

    def jsonl(self, rows: list[dict], name: str = "rows.jsonl") -> None:
        (self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def raw(self, content: bytes, name: str) -> str:
        (self.folder / name).write_bytes(content)
        return name

    def recipe(self, **changes: object) -> str:
        plain = {"base_model": str(self.llama), "data": "rows.jsonl", **changes}
        (self.folder / "recipe.yaml").write_text(yaml.safe_dump({k: v for k, v in plain.items() if v is not ...}))
        return str(self.folder / "recipe.yaml")

    def classes(self, rows: list[dict] = CLASSES, **changes: object) -> str:
        self.jsonl(rows)
        return self.recipe(base_model=str(self.bert), adapter="head", objective="classify", **changes)

    def data(self, content: bytes, name: str, **changes: object) -> str:
        return self.recipe(data=self.raw(content, name), **changes)

    def model(self, **files: bytes) -> str:
        folder = self.folder / "model"
        folder.mkdir()
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_bytes(content)
        return self.recipe(base_model=str(folder))


def chat(**last: object) -> list[dict]:
    return [*CHAT, {"messages": [{"role": "user", "content": "hello there"}, {"role": "assistant", **last}]}]


def beside(bench: Bench, given: list[dict], **objective: object) -> str:
    bench.jsonl(given, "beside.jsonl")
    both = {"type": "sft", "beside": 0.3, "beside_type": "classify", **objective}
    return bench.recipe(data=["rows.jsonl", {"path": "beside.jsonl", "split": "beside"}], objective=both)


def rows(bench: Bench, given: list[dict], **changes: object) -> str:
    bench.jsonl(given)
    return bench.recipe(**changes)


LONG = {"messages": [{"role": "user", "content": "word " * 900}, {"role": "assistant", "content": "yes"}]}
CSV = b"text,label\n" + b"".join(b"row %d of it,%s\n" % (i, b"ab"[i % 2 : i % 2 + 1]) for i in range(40))

CASES: dict[str, tuple[Callable[[Bench], str], tuple[str, ...]]] = {
    # the recipe
    "no recipe": (lambda b: str(b.folder / "none.yaml"), ("none.yaml",)),
    "recipe is a folder": (lambda b: str(b.folder), ("director",)),
    "recipe is not YAML": (lambda b: str(b.folder / b.raw(b"a: [1\nb: }", "x.yaml")), ("x.yaml",)),
    "recipe is a list": (lambda b: str(b.folder / b.raw(b"- a\n- b\n", "x.yaml")), ("x.yaml",)),
    "recipe is empty": (lambda b: str(b.folder / b.raw(b"", "x.yaml")), ("x.yaml",)),
    "unknown key": (lambda b: b.recipe(trian={"seed": 1}), ("trian", "train")),
    "unknown nested key": (lambda b: b.recipe(train={"learning_rat": 1}), ("learning_rat", "learning_rate")),
    "another tool's key": (lambda b: b.recipe(micro_batch_size=2), ("micro_batch_size", "batch_size")),
    "key at the wrong level": (lambda b: b.recipe(learning_rate=1e-4), ("train.learning_rate",)),
    "no base model": (lambda b: b.recipe(base_model=...), ("base_model",)),
    "no data": (lambda b: b.recipe(data=...), ("data",)),
    "wrong type": (lambda b: b.recipe(train={"batch_size": "many"}), ("train.batch_size", "many")),
    "out of range": (lambda b: b.recipe(train={"warmup_ratio": 2}), ("train.warmup_ratio",)),
    "unknown value": (lambda b: b.recipe(adapter="lorra"), ("adapter", "lora")),
    "a head without classes": (lambda b: b.recipe(adapter="head"), ("classify",)),
    "unreadable time": (lambda b: b.recipe(train={"max_time": "soon"}), ("train.max_time",)),
    "cost without a price": (lambda b: b.recipe(train={"max_cost": 3}), ("price_per_hour",)),
    "template that is not there": (lambda b: b.recipe(chat_template="none.jinja"), ("chat_template",)),
    "template with a fault": (
        lambda b: b.recipe(chat_template=b.raw(b"{% for m in messages %}{{ m }}", "t.jinja")), ("template",)),
    # the model
    "no such model": (lambda b: b.recipe(base_model="smollm3"), ("smollm3", "smollm2-135m-instruct")),
    "a hub model without a network": (lambda b: b.recipe(base_model="owner/model"), ("owner/model",)),
    "a pickled model": (lambda b: b.model(config__json=b'{"model_type": "llama"}', tokenizer__json=b"{}",
                                          pytorch_model__bin=b"x"), ("pytorch_model.bin",)),
    "a folder without a config": (lambda b: b.model(tokenizer__json=b"{}"), ("config.json",)),
    "a config that is not JSON": (lambda b: b.model(config__json=b"{", tokenizer__json=b"{}"), ("config.json",)),
    "a family that cannot be packed": (
        lambda b: b.model(config__json=b'{"model_type": "mamba"}', tokenizer__json=b"{}"), ("mamba",)),
    "encoder-decoder": (
        lambda b: b.model(config__json=b'{"model_type": "t5", "is_encoder_decoder": true}', tokenizer__json=b"{}"),
        ("`t5` is an encoder-decoder",)),
    "an adapter for a model": (
        lambda b: b.model(adapter_config__json=b'{"base_model_name_or_path": "x"}'), ("adapter",)),
    "a gguf file": (lambda b: b.recipe(base_model=str(b.folder / b.raw(b"GGUF", "m.gguf"))), ("GGUF",)),
    "an encoder asked to write": (lambda b: b.recipe(base_model=str(b.bert)), ("classify",)),
    # the data
    "no such file": (lambda b: b.recipe(data="none.jsonl"), ("none.jsonl",)),
    "an empty file": (lambda b: b.data(b"", "e.jsonl"), ("e.jsonl",)),
    "an unknown ending": (lambda b: b.data(b"x", "e.xyz"), ("e.xyz",)),
    "a broken line": (lambda b: b.data(b'{"text": "a"}\n{"text": \n', "e.jsonl"), ("e.jsonl", "2")),
    "a row that is no object": (lambda b: b.data(b'{"text": "a"}\n[1]\n', "e.jsonl"), ("e.jsonl", "2")),
    "bytes that are not UTF-8": (lambda b: b.data(CSV + b"caf\xe9 noir,a\n", "e.csv"), ("e.csv", "42")),
    "a ragged table": (lambda b: b.data(CSV + b"one,two,three\n", "e.csv"), ("e.csv", "42")),
    "columns of the same name": (lambda b: b.data(b"text,text\na,b\n", "e.csv"), ("e.csv", "text")),
    "columns nobody knows": (lambda b: b.data(b"one,two\n1,2\n", "e.csv"), ("one", "two")),
    "not a parquet file": (lambda b: b.data(b"PAR0", "e.parquet"), ("e.parquet",)),
    "a column that is not there": (
        lambda b: b.recipe(data=[{"path": "rows.jsonl", "field_text": "body"}]), ("body",)),
    "a role nobody knows": (
        lambda b: rows(b, [*CHAT, {"messages": [{"role": "robot", "content": "x"}]}]), ("rows.jsonl:61", "robot")),
    "a chat without an answer": (
        lambda b: rows(b, [*CHAT, {"messages": [{"role": "user", "content": "x"}]}]), ("rows.jsonl:61",)),
    "an empty turn": (lambda b: rows(b, chat(content="")), ("rows.jsonl:61",)),
    "a null column": (lambda b: b.classes([*CLASSES, {"text": None, "label": "a"}]), ("rows.jsonl:61", "text")),
    "a missing column": (lambda b: b.classes([*CLASSES, {"text": "late"}]), ("rows.jsonl:61", "label")),
    "one label only": (lambda b: b.classes([row | {"label": "a"} for row in CLASSES]), ("label",)),
    "tools the template drops": (
        lambda b: rows(b, [row | {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}
                           for row in CHAT]), ("tool",)),
    "rows longer than the model reads": (lambda b: rows(b, [*CHAT, LONG]), ("rows.jsonl:61", "truncation")),
    "every row dropped": (lambda b: b.recipe(curate={"min_chars": 5000}), ("row",)),
    "leaked rows where that is an error": (
        lambda b: (b.jsonl(CHAT[:5], "test.jsonl"), b.recipe(
            data=["rows.jsonl", {"path": "test.jsonl", "split": "test"}], curate={"leakage": "error"}))[1],
        ("test",)),
    "preference pairs": (
        lambda b: rows(b, [{"prompt": f"{i}?", "chosen": "yes", "rejected": "no"} for i in range(50)]),
        ("preference", "`objective: dpo`")),
    "pairs to learn from that are none": (
        lambda b: rows(b, CHAT, objective="dpo"), ("chosen", "rejected")),
    "labels beside that are none": (lambda b: beside(b, [{"text": f"line {i}"} for i in range(50)]),
                                    ("beside.jsonl", "rows with labels", "field_label")),
    "labels beside as text": (lambda b: beside(b, CLASSES, beside_type="pretrain"),
                              ("beside.jsonl", "plain text", "`objective.beside_type: classify`")),
    "answers beside": (lambda b: beside(b, CHAT, beside_type="pretrain"), ("beside.jsonl", "plain text", "chat")),
    "one label beside": (lambda b: beside(b, [row | {"label": "a"} for row in CLASSES]), ("label",)),
    "too few rows beside": (lambda b: beside(b, CLASSES[:2]), ("beside_test", "`split: beside_validation`")),
    "a class beside that is none": (lambda b: beside(b, CLASSES, class_weights={"x": 2.0}), ("'x'", "label")),
    "verdicts": (
        lambda b: rows(b, [{"prompt": f"{i}?", "completion": "y", "label": i > 9} for i in range(50)]), ("kto",)),
    "plain text to answer": (
        lambda b: rows(b, [{"text": f"line {i}"} for i in range(50)], objective="sft"), ("pretrain",)),
    "JSON answers that are none": (lambda b: b.recipe(evaluate={"constrain": "json"}), ("constrain",)),
    "more tokens than the model reads": (
        lambda b: b.recipe(train={"sequence_len": 99999}), ("sequence_len", "512")),
    "a GPU that is not there": (lambda b: b.recipe(machine={"device": "cuda"}), ("cuda",)),
    "a file for a text encoder only": (lambda b: b.classes(objective_extra=1), ("objective_extra",)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("verb", ["check", "run"])
def test_wrong_input(name: str, verb: str, home, tmp_path: Path, tiny_llama, tiny_bert, capsys, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "work"
    folder.mkdir()
    make, words = CASES[name]
    recipe = make(Bench(folder, tiny_llama, tiny_bert))
    assert main([verb, recipe]) == 2
    _, err = capsys.readouterr()
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert err.rstrip().endswith(told[0])
    assert all(word in told[0] for word in words), told[0]
    assert left_behind(home.root) == []


def left_behind(root: Path) -> list[str]:
    """Anything in the home but caches and an empty database."""
    from luthier.registry import versions
    from luthier.store import Home, datasets, runs

    home = Home.open(root)
    rows = [*runs.list(home), *datasets.list(home), *versions.list_versions(home)] if root.exists() else []
    files = [str(path) for name in ("runs", "blobs") for path in (root / name).rglob("*") if path.is_file()]
    return [str(row) for row in rows] + files


def test_there_are_at_least_forty_kinds() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["run"], ["run", "a.yaml", "--sett", "x=1"], ["runs", "show", "none"], ["models", "show", "none"],
     ["data", "show", "none"], ["init", "none.jsonl"], ["evaluate", "none", "none.jsonl"], ["compare", "a", "b"],
     ["models", "promote", "none@1", "production"], ["models", "rollback", "none"]],
)  # fmt: skip
def test_wrong_usage(arguments: list[str], home, capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    if not arguments:
        pytest.skip("no verb at all prints the help")
    assert main(arguments) == 2
    assert capsys.readouterr().err.strip()
