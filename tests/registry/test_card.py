"""The card states the facts of a run document, and only these."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from luthier.registry.card import write_card


@pytest.fixture
def document() -> dict[str, Any]:
    accuracy = {"value": 0.618, "low": 0.52486, "high": 0.70353, "n": 110}
    return {
        "run_id": "20261121-111503-tickets-3f9a",
        "name": "tickets",
        "task": "generate",
        "verdict": "ship",
        "reasons": ["It is better."],
        "confidence": 0.975,
        "tuned": {"accuracy": accuracy, "nll": {"value": 0.2143, "low": None, "high": None, "n": 110}},
        "solvers": {
            "base": {"accuracy": {"value": 0.1, "low": 0.05, "high": 0.17, "n": 110}},
            "tuned": {"accuracy": accuracy},
        },
        "skipped_baselines": {"classic": "the answers are free text"},
        "deltas": {"base": {"accuracy": {"value": 0.518, "low": 0.4, "high": 0.6, "p": 0.00001, "n": 110}}},
        "forgetting": {"text_nll": {"base": 3.2, "tuned": 3.25, "delta": 0.05, "low": 0.04, "high": 0.06, "n": 200}},
        "dataset_version": "ds-7c1e",
        "data": {
            "version": "ds-7c1e",
            "splits": {"train": 1450, "test": 110},
            "steps": [{"name": "deduplicate", "dropped": {"same | content": 16}}],
            "sources": [
                {
                    "path": "/home/ann/secret/tickets.jsonl",
                    "type": "chat",
                    "rows": 1600,
                    "licence": "CC0-1.0",
                },
                {"path": "hub:owner/more", "type": "chat", "rows": 60, "licence": None},
            ],
        },
        "recipe": {
            "base_model": "smollm2",
            "data": [{"path": "tickets.jsonl"}, {"path": "hub:owner/more"}],
            "adapter": {"type": "lora"},
        },
        "resolved": [{"key": "train.learning_rate", "value": 0.0002, "why": "LoRA"}],
        "recipe_sha256": "beef",
        "command": "luthier run recipe.yaml",
        "environment": {"luthier": "0.1.0", "torch": "2.13.0", "cpu": "Test CPU"},
        "actual": {"seconds": 1486.2},
        "lineage": {
            "base_model": "smollm2",
            "base_licence": "Apache-2.0",
            "base_sha256": "cafe",
            "adapter_sha256": "f00d",
            "merge_logit_difference": 2.3e-05,
        },
    }


def test_the_front_matter_is_what_the_hub_reads(document: dict[str, Any]) -> None:
    head = yaml.safe_load(write_card(document).split("---\n")[1])
    results = head.pop("model-index")[0]["results"][0]
    assert head == {
        "base_model": "smollm2",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "license": "apache-2.0",
        "datasets": ["owner/more"],
        "tags": ["luthier", "lora"],
    }
    assert results["metrics"][0] == {"type": "accuracy", "value": 0.618, "name": "accuracy, n = 110"}
    assert results["dataset"]["type"] == "ds-7c1e"


def test_virtual_tokens_are_a_peft_adapter_that_cannot_be_merged(document: dict[str, Any]) -> None:
    document["recipe"]["adapter"] = {"type": "prefix"}
    document["lineage"] |= {"merge_logit_difference": None, "not_merged": "it changes no weight"}
    card = write_card(document)
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["library_name"], head["base_model_relation"]) == ("peft", "adapter")
    assert head["tags"] == ["luthier", "prefix"]
    assert "The adapter cannot be merged into its base: it changes no weight." in card


def test_all_weights_trained_is_not_a_peft_model(document: dict[str, Any]) -> None:
    document["recipe"]["adapter"] = {"type": "full"}
    head = yaml.safe_load(write_card(document).split("---\n")[1])
    assert (head["library_name"], head["base_model_relation"]) == ("transformers", "finetune")


@pytest.mark.parametrize(
    "line",
    [
        "# tickets",
        "## Verdict: ship",
        "- It is better.",
        "On the test split; in brackets the 97.5% interval.",
        "| base model | 10.0 % [5.0, 17.0] | 110 |",
        "| **this model** | 61.8 % [52.5, 70.4] | 110 |",
        "No classic model: the answers are free text.",
        "| base model | accuracy | +51.8 points | +40.0 to +60.0 | < 0.001 |",
        "| general text, nats per token | 3.200 | 3.250 | +0.050 nats per token | +0.040 to +0.060 | 200 |",
        "Dataset version `ds-7c1e`: 1,450 train, 110 test rows.",
        "| `tickets.jsonl` | chat | 1,600 | CC0-1.0 |",
        "- deduplicate: 16 rows dropped, same | content",
        "Merging the adapter into the base weights changes logits by at most 2.3e-05.",
        "- base model: Apache-2.0",
        "- data: CC0-1.0",
        "- data without a stated licence: hub:owner/more",
        "luthier run recipe.yaml",
        "With luthier 0.1.0, torch 2.13.0. The fit took 24 min 46 s on Test CPU.",
        "base_model: smollm2",
        "- `train.learning_rate`: 0.0002 (LoRA)",
        "- run: `20261121-111503-tickets-3f9a`",
        "- adapter sha256: `f00d`",
    ],
)
def test_each_fact_has_its_line(document: dict[str, Any], line: str) -> None:
    assert line in write_card(document).splitlines()


def test_paths_of_the_machine_stay_private(document: dict[str, Any]) -> None:
    assert "/home/ann" not in write_card(document)


def test_what_the_run_does_not_know_is_left_out(document: dict[str, Any]) -> None:
    for key in document.keys() - {"name", "recipe"}:
        del document[key]
    card = write_card(document)
    titles = [line for line in card.splitlines() if line.startswith("#")]
    assert titles == ["# tickets", "## Licences", "## Recipe"]
    assert "None" not in card
    assert "license" not in card.split("---\n")[1]


@pytest.mark.parametrize(
    "key", ["solvers", "deltas", "forgetting", "tuned", "data", "lineage", "environment", "actual"]
)
def test_a_part_may_be_missing_or_null(document: dict[str, Any], key: str) -> None:
    document[key] = None
    assert "None" not in write_card(document)


def test_a_cell_cannot_break_its_table(document: dict[str, Any]) -> None:
    document["data"]["sources"][0]["type"] = "a | b\nc"
    assert "| `tickets.jsonl` | a \\| b c | 1,600 | CC0-1.0 |" in write_card(document)
