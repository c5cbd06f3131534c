"""What the service answers instead of an answer: errors that become a status and OpenAI's error body.

Refusal                   a status, a type, and where there are any a parameter and a code
├── BadRequest       400  a parameter is wrong, or cannot be obeyed
│   └── TooLong      400  the prompt leaves no room in the context (code `context_length_exceeded`)
├── Unauthorized     401  no key was shown, or none that is known
├── Forbidden        403  who asks is known, and may not do this
├── NotThere         404  no such file, job or route
│   └── UnknownModel 404  no model of this name is served (code `model_not_found`)
├── Overdue          408  it took longer than was asked for; not to be repeated
├── Conflict         409  the thing is not in a state in which this can be done; not to be repeated
├── TooLarge         413  more bytes than are read
├── Busy             429  the line is full; says when there is likely a place
├── Left             499  the client went away; nobody reads this
├── Unanswered       500  the engine gave up in the middle of an answer
└── Unavailable      503  the store or the engine cannot be used at the moment
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from luthier.errors import LuthierError

NEVER_AGAIN = {"x-should-retry": "false"}
"""Tells OpenAI's clients that asking again would only repeat the work."""


class Refusal(LuthierError):
    """`message` is what the client reads: what is wrong, and how to mend it. `headers` go with the reply."""

    status = 400
    type = "invalid_request_error"

    def __init__(
        self, message: str, param: str | None = None, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.code, self.headers = message, param, code, dict(headers or {})

    def body(self) -> dict[str, Any]:
        """OpenAI's error body."""
        return {"error": {"message": str(self), "type": self.type, "param": self.param, "code": self.code}}


class BadRequest(Refusal, ValueError):
    """A parameter is wrong, or asks for what this model or service cannot do."""


class TooLong(BadRequest):
    """The prompt and the answer do not fit into the model's context."""

    def __init__(self, message: str, param: str | None = "messages") -> None:
        super().__init__(message, param, "context_length_exceeded")


class Unauthorized(Refusal):
    """No key was shown, or none that is known."""

    status = 401

    def __init__(self, message: str) -> None:
        super().__init__(message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


class Forbidden(Refusal):
    """Who asks is known, and may not do this."""

    status, type = 403, "permission_error"


class NotThere(Refusal, LookupError):
    """No such file, job or route."""

    status = 404

    def __init__(self, message: str, param: str | None = None, code: str | None = "not_found") -> None:
        super().__init__(message, param, code)


class UnknownModel(NotThere):
    """No model of this name is served."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "model", "model_not_found")


class Overdue(Refusal):
    """It took longer than was asked for, or than the server allows."""

    status, type = 408, "timeout_error"

    def __init__(self, message: str) -> None:
        super().__init__(message, code="timeout", headers=NEVER_AGAIN)


class Conflict(Refusal):
    """The thing is not in a state in which this can be done."""

    status = 409

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message, param, code, NEVER_AGAIN)


class TooLarge(Refusal):
    """More bytes than are read."""

    status = 413

    def __init__(self, message: str) -> None:
        super().__init__(message, code="request_too_large")


class Busy(Refusal):
    """The line is full; `retry_after_seconds` from now there is likely a place."""

    status, type = 429, "rate_limit_error"

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        waits = {"retry-after": str(max(1, math.ceil(retry_after_seconds))),
                 "retry-after-ms": str(max(1, math.ceil(1000 * retry_after_seconds)))}  # fmt: skip
        super().__init__(message, code="queue_full", headers=waits)
        self.retry_after_seconds = retry_after_seconds


class Left(Refusal):
    """The client went away before it was answered."""

    status = 499

    def __init__(self) -> None:
        super().__init__("the client closed the connection", code="client_left")


class Unanswered(Refusal, RuntimeError):
    """An answer ended with an error of the engine's."""

    status, type = 500, "server_error"


class Unavailable(Refusal):
    """The store or the engine cannot be used at the moment."""

    status, type = 503, "server_error"
