"""What the routes share: the gate behind them, who calls, the body as a model, the answer as bytes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.responses import Response

from stacksona_adapters.protocol.requests import ATTEMPT_HEADER, IDEMPOTENCY_HEADER, REPLAYED_HEADER
from stacksona_adapters.server.api.browser import CSRF_HEADER, carries_token, same_origin, session_secret
from stacksona_adapters.server.service import accounts, keys, sessions
from stacksona_adapters.server.service.errors import (
    Invalid,
    Malformed,
    NotAuthenticated,
    NotPermitted,
    invalid,
)
from stacksona_adapters.server.service.idempotency import Once, Stored, once
from stacksona_adapters.server.service.pointers import join
from stacksona_adapters.server.service.records import canonical

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from starlette.requests import Request

    from stacksona_adapters.server.api.changes import Changes
    from stacksona_adapters.server.api.limits import RateLimit
    from stacksona_adapters.server.service.context import Read, Write
    from stacksona_adapters.server.service.gate import GateService

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_LONGEST_HEADER = 255


@dataclass(frozen=True)
class Served:
    """A running gate: its service, what wakes those who wait, the threads that read, and how much a key may call."""

    gate: GateService
    changes: Changes
    readers: Executor
    limit: RateLimit

    async def read(self, act: Callable[[Read], T]) -> T:
        """Run a reading use case in a reader's thread."""
        return await asyncio.get_running_loop().run_in_executor(self.readers, self.gate.read, act)

    async def write(self, act: Callable[[Write], T]) -> T:
        """Run a writing use case; it is committed even if the caller goes away meanwhile."""
        return await asyncio.shield(asyncio.wrap_future(self.gate.submit(act)))


def served(request: Request) -> Served:
    """The running gate of a request."""
    found: Served = request.app.state.served
    return found


def bearer(request: Request) -> str:
    """The caller's key or token.

    Raises:
        NotAuthenticated: If there is none.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise NotAuthenticated("Send the header Authorization: Bearer KEY.")
    return secret.strip()


def agent_of(read: Read, key: str) -> keys.Agent:
    """The agent of a key.

    Raises:
        NotPermitted: If it is a reviewer's token.
        NotAuthenticated: If the gate does not know it.
    """
    agent = keys.agent_of(read, key)
    if agent is not None:
        return agent
    if keys.reviewer_of(read, key) is not None:
        raise NotPermitted("This is a reviewer's token; agents use a key that begins with sg_.")
    raise NotAuthenticated("The gate does not know this key, or it was revoked.")


def reviewer_of(read: Read, token: str) -> str:
    """The name of a reviewer.

    Raises:
        NotPermitted: If it is an agent's key.
        NotAuthenticated: If the gate does not know it.
    """
    reviewer = keys.reviewer_of(read, token)
    if reviewer is not None:
        return reviewer
    if keys.agent_of(read, token) is not None:
        raise NotPermitted("This is an agent's key; only a reviewer can do this.")
    raise NotAuthenticated("The gate does not know this token, or it was revoked.")


def text_of(value: str, where: str) -> str:
    """A text from the address or a header.

    Raises:
        Invalid: If it has a NUL, which PostgreSQL cannot keep, or is no Unicode.
    """
    if "\0" in value or not _encodes(value):
        raise invalid(where, "must not contain NUL or broken Unicode")
    return value


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def header(request: Request, name: str) -> str | None:
    """A header that the gate keeps.

    Raises:
        Invalid: If it is too long.
    """
    value = request.headers.get(name)
    if value is not None and len(value) > _LONGEST_HEADER:
        raise Invalid(f"The header {name} may have at most {_LONGEST_HEADER} characters.")
    return text_of(value, f"header {name}") if value else None


def attempt_of(request: Request) -> str | None:
    """The attempt that asks."""
    return header(request, ATTEMPT_HEADER)


@dataclass(frozen=True)
class Body:
    """A JSON object, as it came and in canonical form."""

    raw: bytes
    fields: dict[str, Any]
    canonical: str

    def as_model(self, model: type[M]) -> M:
        """The body as a model.

        Raises:
            Invalid: With one entry for each wrong field.
        """
        try:
            return model.model_validate_json(self.raw)
        except ValidationError as error:
            wrong = [(join(e["loc"]), e["msg"]) for e in error.errors(include_url=False, include_input=False)]
            said = "; ".join(f"{pointer}: {why}" for pointer, why in wrong[:5])
            raise Invalid(f"The request has wrong fields: {said}", wrong) from error


async def body_of(request: Request, *, optional: bool = False) -> Body:
    """The JSON object of a request.

    Args:
        request: The request.
        optional: Whether no body at all reads as an empty object.

    Raises:
        Malformed: If it is not JSON.
        Invalid: If it is no object, or holds what has no canonical form or cannot be kept.
    """
    raw = await request.body()
    if optional and not raw.strip():
        raw = b"{}"
    try:
        fields = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise Malformed(f"The body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise invalid("", "must be a JSON object")
    if b"\\u0000" in raw and _has_nul(fields):
        raise Invalid("The body has a text with the character NUL (\\u0000); remove it.")
    return Body(raw, fields, canonical(fields))


def _has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any("\0" in name or _has_nul(item) for name, item in value.items())
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\0" in value


def to_text(value: BaseModel | dict[str, Any]) -> str:
    """An answer as JSON text."""
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def answer(value: BaseModel | dict[str, Any], status: int = 200) -> Response:
    """An answer as JSON."""
    return Response(to_text(value).encode(), status, media_type="application/json")


async def agent_write(
    request: Request, body: Body, act: Callable[[Write, keys.Agent], tuple[int, BaseModel | dict[str, Any]]]
) -> Response:
    """A writing call of an agent: who it is, the idempotency key, the effect and the answer in one transaction.

    Args:
        request: The request.
        body: Its body.
        act: The use case; gives the status code and the answer.
    """
    key, name = bearer(request), header(request, IDEMPOTENCY_HEADER)
    served(request).limit.take(key)
    call = f"{request.method} {text_of(request.url.path, 'path')}"

    def run(write: Write) -> Stored:
        agent = _remembered_agent(write, key)
        digest = hashlib.sha256(body.canonical.encode()).hexdigest() if name is not None else ""
        known = Once(agent.name, call, name, digest) if name is not None else None

        def first(write: Write) -> Stored:
            status, value = act(write, agent)
            return Stored(status, to_text(value))

        return once(write, known, first)

    stored = await served(request).write(run)
    headers = {REPLAYED_HEADER: "true"} if stored.replayed else {}
    return Response(stored.text.encode(), stored.status, headers, media_type="application/json")


def _remembered_agent(write: Write, key: str) -> keys.Agent:
    known: keys.Agent | None = write.memory.get(("agent", key))
    if known is None:
        known = write.memory["agent", key] = agent_of(write, key)
    return known


async def reviewer_write(request: Request, act: Callable[[Write, str], T], *, decides: bool = True) -> T:
    """A writing call of a reviewer.

    Args:
        request: The request.
        act: The use case.
        decides: Whether it needs a role that decides; an auditor's does not.
    """
    known = _reviewer_by(request)

    def run(write: Write) -> T:
        reviewer = known(write)
        if decides:
            accounts.check_decides(write, reviewer)
        return act(write, reviewer)

    return await served(request).write(run)


async def reviewer_read(request: Request, act: Callable[[Read, str], T]) -> T:
    """A reading call of a reviewer."""
    known = _reviewer_by(request)
    return await served(request).read(lambda read: act(read, known(read)))


def _reviewer_by(request: Request) -> Callable[[Read], str]:
    """How the caller is known: by a bearer token, or by the inbox's session.

    Raises:
        NotAuthenticated: If there is neither.
        NotPermitted: If a session's cookie comes with a call that the gate's own pages did not make.
    """
    secret = session_secret(request)
    if "authorization" in request.headers or not secret:
        token = bearer(request)
        return lambda read: reviewer_of(read, token)
    reads = request.method in ("GET", "HEAD")
    if not reads and not (same_origin(request) and carries_token(secret, request.headers.get(CSRF_HEADER))):
        raise NotPermitted(f"A session's call needs the header {CSRF_HEADER} and a page of this gate.")
    return lambda read: _session_reviewer(read, secret)


def _session_reviewer(read: Read, secret: str) -> str:
    session = sessions.find(read, secret)
    if session is None:
        raise NotAuthenticated("The session is over; sign in again.")
    return session.reviewer
