"""A call as data: what to send and how to read the answer. Knows no network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from stacksona_adapters.errors import (
    GateAuthenticationError,
    GateProtocolError,
    GateRequestRefused,
    GateUnavailable,
)

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

NOT_JSON = object()
"""The body of an answer that is not JSON."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: its status code, its body as JSON (or `NOT_JSON`), its headers in lower case."""

    status_code: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One HTTP call to a gate.

    Attributes:
        method: The HTTP method.
        path: The path below the base URL.
        read: Turns an answer into the result, or raises.
        body: The JSON body, or `None`.
        query: Query parameters.
        headers: Further headers.
        idempotency_key: Sent as `Idempotency-Key`; a call that has one (or is a GET) may be repeated.
        hold: Seconds that the server may keep the call open on purpose (long poll).
    """

    method: str
    path: str
    read: Callable[[Answer], T]
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    hold: float = 0.0

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice has the effect of sending it once."""
        return self.method == "GET" or self.idempotency_key is not None


def raise_for_status(answer: Answer) -> None:
    """Turn every answer that is not a 2xx into an error.

    Raises:
        GateAuthenticationError: 401.
        GateUnavailable: 429 and 5xx.
        GateRequestRefused: Any other status that is not 2xx.
    """
    code = answer.status_code
    if 200 <= code < 300:
        return
    problem = answer.body if isinstance(answer.body, dict) else {}
    said = _problem_text(problem)
    if code == 401:
        raise GateAuthenticationError(
            f"The gate does not accept the key (401{said}); nothing ran. Check STACKSONA_API_KEY."
        )
    if code == 429 or code >= 500:
        raise GateUnavailable(f"The gate cannot answer now ({code}{said}); nothing ran. Try again later.")
    raise GateRequestRefused(f"The gate refused the request ({code}{said}); nothing ran.", code, problem)


def _problem_text(problem: Mapping[str, Any]) -> str:
    words = [str(problem[key]) for key in ("title", "detail") if problem.get(key)]
    errors = problem.get("errors")
    entries = [entry for entry in errors if isinstance(entry, dict)] if isinstance(errors, list) else []
    words += [f"{entry.get('pointer', '?')}: {entry.get('detail', '?')}" for entry in entries]
    return "".join(f": {word}" for word in words)[:1000]


def json_object(answer: Answer) -> dict[str, Any]:
    """The body of a successful answer as an object.

    Raises:
        GateProtocolError: If it is not a JSON object.
        GateError: What `raise_for_status` raises.
    """
    raise_for_status(answer)
    if not isinstance(answer.body, dict):
        raise GateProtocolError(f"The gate's answer ({answer.status_code}) is not a JSON object; nothing ran.")
    return answer.body


def read_model(model: type[M]) -> Callable[[Answer], M]:
    """A reader that validates the body as `model`; a body that does not fit is a `GateProtocolError`."""

    def read(answer: Answer) -> M:
        return validate(model, json_object(answer))

    return read


def validate(model: type[M], body: Mapping[str, Any]) -> M:
    """`body` as a `model`, without any coercion between JSON types.

    Raises:
        GateProtocolError: If a field is missing or has a wrong type.
    """
    try:
        return model.model_validate_json(json.dumps(dict(body)), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise GateProtocolError(
            f"The gate's answer cannot be trusted ({where}: {first['msg']}); nothing ran."
        ) from error


def read_nothing(answer: Answer) -> None:
    """A reader for answers of which only success matters."""
    raise_for_status(answer)
