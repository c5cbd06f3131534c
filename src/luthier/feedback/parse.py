"""Feedback as clients write it → feedback as it is stored. Nothing unknown is let through."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from luthier.data.sources.formats.messages import read_messages
from luthier.errors import DataError
from luthier.store.feedback import Kind, New

KEYS = ("id", "trace_id", "kind", "value", "index", "rater", "comment")
LONGEST = {"id": 100, "trace_id": 200, "rater": 200, "comment": 10_000}
ID = re.compile(r"[A-Za-z0-9._:-]+")
RATINGS = "`up`, `down`, or a number from 1 to 5"
ANSWER = "Name an answer by its number among the completion's choices, as a text, or as {trace_id, index}"
INDEXED = ("rating", "correction")
"""Kinds that are said of one of the completion's choices."""


def parse(item: Any) -> New:
    """One piece of feedback: `trace_id`, `kind`, `value`, and where wanted `index`, `rater`, `comment` and `id`.

    Without an `id` one is made of who says what kind of thing of which answer. The same said again is then the same
    feedback, and a rater who changes their mind replaces what they said; without a rater, nothing is replaced. Raises
    DataError, whose `where` is the key that is wrong.
    """
    if not isinstance(item, Mapping):
        raise DataError("feedback must be an object", "", f"Its keys are {', '.join(KEYS)}")
    unknown = next((key for key in item if key not in KEYS), None)
    if unknown is not None:
        raise DataError(f"feedback has no key {unknown!r}", str(unknown), f"Its keys are {', '.join(KEYS)}")
    trace_id, kind = _text(item, "trace_id"), _text(item, "kind")
    if trace_id is None:
        raise DataError("feedback must say of which answer it is", "trace_id", "Give the `id` of the completion")
    if kind not in VALUES:
        raise DataError(f"there is no kind {kind!r}", "kind", f"The kinds are {', '.join(VALUES)}")
    if "value" not in item:
        raise DataError("feedback must say something", "value", f"Give the {kind}")
    value = VALUES[kind](item["value"])
    if kind in INDEXED:
        value["index"] = _index(item.get("index", 0), "index")
    elif "index" in item:
        raise DataError(f"a {kind} is not of one choice alone", "index", "Leave it out")
    rater, comment, own = _text(item, "rater"), _text(item, "comment"), _text(item, "id")
    if own is not None and not ID.fullmatch(own):
        raise DataError(f"{own!r} cannot be an id", "id", "Use letters, digits, `.`, `_`, `:` and `-`")
    made = own or _made_id(trace_id, kind, value, rater)
    return New(made, trace_id, kind, value, rater, comment, replaces=own is None and rater is not None)  # type: ignore[arg-type]


def _made_id(trace_id: str, kind: str, value: Mapping[str, Any], rater: str | None) -> str:
    about: Any = value
    if rater is not None:
        compared = [value.get("chosen"), *value.get("rejected", ())] if kind == "choice" else []
        about = [rater, value.get("index"), sorted(map(_canonical, compared))]
    digest = hashlib.sha256(_canonical([trace_id, kind, about]).encode())
    return f"fb-{digest.hexdigest()[:24]}"


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _text(item: Mapping[str, Any], key: str) -> str | None:
    value = item.get(key)
    if value is None:
        return None
    if type(value) is not str or not value.strip():
        raise DataError(f"`{key}` must be a text that is not blank", key, "Fill it, or leave it out")
    if key in LONGEST and len(value) > LONGEST[key]:
        raise DataError(f"`{key}` has {len(value)} characters", key, f"At most {LONGEST[key]} are kept")
    return value


def _index(value: Any, key: str) -> int:
    if type(value) is not int or value < 0:
        raise DataError(f"`{key}` must be the number of a choice, from 0", key, "The first choice is 0")
    return value


def _rating(value: Any) -> dict[str, Any]:
    if value in ("up", "down") or (type(value) is int and 1 <= value <= 5):
        return {"rating": value}
    raise DataError(f"{value!r} is no rating", "value", f"Give {RATINGS}")


def _correction(value: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": value} if type(value) is str else value
    if type(message) is not dict or message.get("role") != "assistant":
        raise DataError("a correction is a text, or an assistant message", "value", "Give what should have been said")
    return {"message": _message(message)}


def _message(message: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(read_messages([message], "value")[0])
    except DataError as error:
        raise DataError(error.what, "value", error.mend) from None


def _choice(value: Any) -> dict[str, Any]:
    if type(value) is not dict or set(value) != {"chosen", "rejected"}:
        raise DataError("a choice is {chosen, rejected}", "value", ANSWER)
    rejected = value["rejected"] if type(value["rejected"]) is list else [value["rejected"]]
    chosen, others = _answer(value["chosen"]), [_answer(one) for one in rejected]
    if not others:
        raise DataError("a choice needs what was not chosen", "value", ANSWER)
    if chosen in others or len({_canonical(one) for one in others}) < len(others):
        raise DataError("an answer stands twice in the choice", "value", "Name each answer once")
    return {"chosen": chosen, "rejected": others}


def _answer(value: Any) -> dict[str, Any]:
    if type(value) is int:
        return {"index": _index(value, "value")}
    if type(value) is str and value.strip():
        return {"text": value}
    if type(value) is dict and set(value) <= {"trace_id", "index"} and type(value.get("trace_id")) is str:
        return {"trace_id": value["trace_id"], "index": _index(value.get("index", 0), "value")}
    raise DataError(f"{value!r} names no answer", "value", ANSWER)


def _label(value: Any) -> dict[str, Any]:
    if type(value) is str and value.strip():
        return {"label": value.strip()}
    if type(value) is list and value and all(type(one) is str and one.strip() for one in value):
        return {"labels": sorted({one.strip() for one in value})}
    raise DataError("a label is a text, or a list of them", "value", "Give the name of the label")


VALUES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "rating": _rating, "correction": _correction, "choice": _choice, "label": _label,
}  # fmt: skip
KINDS: tuple[Kind, ...] = ("rating", "correction", "choice", "label")
