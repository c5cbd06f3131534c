"""What the OpenAPI document says of bodies that are read without it, and of errors."""

from __future__ import annotations

from typing import Any

MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {"anyOf": [{"type": "string"}, {"type": "array"}, {"type": "null"}]},
    },
}


def _body(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": required, "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


CHAT = _body(
    ["model", "messages"],
    {
        "model": {"type": "string"},
        "messages": {"type": "array", "minItems": 1, "items": MESSAGE},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "n": {"type": "integer", "minimum": 1},
        "seed": {"type": "integer"},
        "max_completion_tokens": {"type": "integer", "minimum": 1},
        "max_tokens": {"type": "integer", "minimum": 1},
        "stop": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "logprobs": {"type": "boolean"},
        "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
        "logit_bias": {"type": "object", "additionalProperties": {"type": "number"}},
        "presence_penalty": {"type": "number", "minimum": -2, "maximum": 2},
        "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
        "response_format": {"type": "object"},
        "tools": {"type": "array", "items": {"type": "object"}},
        "tool_choice": {"anyOf": [{"type": "string"}, {"type": "object"}]},
        "stream": {"type": "boolean"},
        "stream_options": {"type": "object"},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "user": {"type": "string"},
    },
)
EMBEDDINGS = _body(
    ["model", "input"],
    {
        "model": {"type": "string"},
        "input": {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}, "minItems": 1},
            ]
        },
        "encoding_format": {"type": "string", "enum": ["float", "base64"]},
        "dimensions": {"type": "integer", "minimum": 1},
        "user": {"type": "string"},
    },
)
_AUTO = {"anyOf": [{"type": "string", "enum": ["auto"]}, {"type": "number", "exclusiveMinimum": 0}]}
_SETTINGS = {
    "type": "object",
    "properties": dict.fromkeys(("n_epochs", "batch_size", "learning_rate_multiplier", "beta"), _AUTO),
}
_METHOD = {"type": "object", "properties": {"hyperparameters": _SETTINGS}}
JOB = _body(
    ["model", "training_file"],
    {
        "model": {"type": "string"},
        "training_file": {"type": "string"},
        "validation_file": {"type": ["string", "null"]},
        "suffix": {"type": ["string", "null"], "maxLength": 64},
        "seed": {"type": ["integer", "null"], "minimum": 0},
        "metadata": {"type": ["object", "null"], "maxProperties": 16, "additionalProperties": {"type": "string"}},
        "hyperparameters": _SETTINGS,
        "method": {
            "type": "object",
            "required": ["type"],
            "properties": {
                "type": {"type": "string", "enum": ["supervised", "dpo"]},
                "supervised": _METHOD,
                "dpo": _METHOD,
            },
        },
    },
)
_FILE = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {
            "type": "string",
            "enum": ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"],
        },
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
    },
}
FILE = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FILE}}}}
FEEDBACK = _body(
    ["trace_id", "kind", "value"],
    {
        "trace_id": {"type": "string"},
        "kind": {"type": "string", "enum": ["rating", "correction", "choice", "label"]},
        "value": {},
        "index": {"type": "integer", "minimum": 0},
        "rater": {"type": "string"},
        "comment": {"type": "string"},
        "id": {"type": "string"},
    },
)
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": {"application/json": {"schema": _ERROR}}}
    for status, description in {
        400: "The request is wrong", 401: "No key, or none that is known", 403: "Not allowed", 404: "Not there",
        405: "No such method", 408: "It took too long", 413: "Too large", 422: "Not used", 429: "The line is full",
    }.items()
}  # fmt: skip
