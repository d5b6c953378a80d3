"""Problem details (RFC 9457) for every error."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from stacksona_adapters.protocol.reviews import PROBLEM_JSON
from stacksona_adapters.server.service import errors
from stacksona_adapters.server.store.writer import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from starlette.requests import Request

_STATUS: dict[type[errors.Refusal], int] = {
    errors.Malformed: 400,
    errors.NotAuthenticated: 401,
    errors.NotPermitted: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.TooLarge: 413,
    errors.Invalid: 422,
    errors.TooMany: 429,
}


def problem(
    status: int,
    detail: str | None = None,
    facts: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer with problem details."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    content = json.dumps({**body, **(facts or {})}).encode()
    return Response(content, status, dict(headers or {}), media_type=PROBLEM_JSON)


def of_refusal(refusal: errors.Refusal) -> Response:
    """The problem details of a refusal."""
    status = status_of(refusal)
    facts = dict(refusal.facts)
    if isinstance(refusal, errors.Invalid):
        facts["errors"] = [{"pointer": pointer, "detail": why} for pointer, why in refusal.errors]
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return problem(status, refusal.detail, facts, {**headers, **retry_after(refusal)})


def status_of(refusal: errors.Refusal) -> int:
    """The status code of a refusal."""
    return _STATUS[type(refusal)]


def retry_after(refusal: errors.Refusal) -> dict[str, str]:
    """The header that says when it may succeed, where that is known."""
    return {"Retry-After": str(refusal.wait)} if isinstance(refusal, errors.TooMany) else {}


def unavailable(detail: str) -> Response:
    """The gate has no time or no database now."""
    return problem(503, detail, headers={"Retry-After": "1"})


async def _on_refusal(request: Request, error: Exception) -> Response:
    return of_refusal(error) if isinstance(error, errors.Refusal) else problem(500)


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return problem(500)
    said = {404: f"There is nothing at {request.url.path!r:.200}.", 405: f"{request.method} is not served here."}
    return problem(error.status_code, said.get(error.status_code, error.detail), headers=error.headers)


async def _on_unavailable(request: Request, error: Exception) -> Response:
    return unavailable(f"The gate cannot answer now: {error}.")


async def _on_bug(request: Request, error: Exception) -> Response:
    return problem(500, "The gate made a mistake; its log says which.")


def install(app: FastAPI) -> None:
    """Answer every error of an app with problem details."""
    app.add_exception_handler(errors.Refusal, _on_refusal)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(StoreUnavailable, _on_unavailable)
    app.add_exception_handler(Exception, _on_bug)
