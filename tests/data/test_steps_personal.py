"""What looks personal or secret in each kind of row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.example import Example
from luthier.data.pipeline import prepare
from luthier.data.steps.personal import personal
from luthier.recipe import Recipe

MAIL, GONE = "ask ana@example.org", "ask [email]"


def called(arguments: str) -> tuple[dict[str, Any], ...]:
    call = {"id": "c", "type": "function", "function": {"name": "send", "arguments": arguments}}
    return ({"role": "assistant", "content": None, "tool_calls": [call]},)


@pytest.mark.parametrize(
    ("row", "clean"),
    [
        ({"text": MAIL, "label": "mail"}, {"text": GONE, "label": "mail"}),
        ({"prompt": "who?", "completion": MAIL}, {"prompt": "who?", "completion": GONE}),
        ({"prompt": MAIL, "chosen": MAIL, "rejected": "no"}, {"prompt": GONE, "chosen": GONE, "rejected": "no"}),
        ({"messages": ({"role": "user", "content": MAIL},)}, {"messages": ({"role": "user", "content": GONE},)}),
        ({"messages": called('{"to": "ana@example.org", "n": 4111111111111111}')},
         {"messages": called('{"to": "[email]", "n": 4111111111111111}')}),
        ({"messages": called(MAIL)}, {"messages": called(GONE)}),
    ],
)  # fmt: skip
def test_it_is_replaced_or_the_row_dropped(row: dict[str, Any], clean: dict[str, Any]) -> None:
    one = Example("a:1", **row)
    assert personal([one], "redact") == ([Example("a:1", **clean)], [])
    kept, (reject,) = personal([one], "drop")
    assert (kept, reject.example, reject.reason) == ([], one, "looks personal or secret")


def test_other_rows_stay_as_they_are() -> None:
    rows = [Example("a:1", text="version 1.2.3"), Example("a:2", messages=called('{ "to":"nobody" }'))]
    for how in ("redact", "drop"):
        kept, rejects = personal(rows, how)  # type: ignore[arg-type]
        assert [id(row) for row in kept] == [id(row) for row in rows]
        assert not rejects


def test_rows_that_are_alike_without_it_are_one(tmp_path: Path) -> None:
    rows = [{"prompt": "who?", "completion": f"write to user{n}@example.org"} for n in range(3)]
    rows += [{"prompt": f"ask {n}", "completion": "yes"} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe.model_validate({"base_model": "any", "data": "rows.jsonl", "curate": {"personal": "redact"}})
    steps = {step.name: step for step in prepare(recipe, tmp_path).steps}
    assert list(steps) == ["usable", "personal", "length", "deduplicate", "leakage"]
    assert (steps["personal"].changed, steps["personal"].rows_out) == (3, 23)
    assert steps["deduplicate"].dropped == {"duplicate of another row": 2}
