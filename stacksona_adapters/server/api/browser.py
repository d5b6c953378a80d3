"""A reviewer's browser: its session cookie, and whether a form or call comes from the gate's own pages."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.requests import Request

COOKIE = "stacksona_session"

CSRF_HEADER = "X-CSRF-Token"
"""Carries the session's token where no form does."""


def cookie_name(request: Request) -> str:
    """The cookie's name; cookies know no ports, and several gates may run on one machine."""
    port = urlsplit(f"//{request.headers.get('host', '')}").netloc.rpartition(":")[2]
    return f"{COOKIE}_{port}" if port.isdigit() else COOKIE


def session_secret(request: Request) -> str:
    """The secret in the session's cookie; empty where there is none."""
    return request.cookies.get(cookie_name(request), "")


def csrf_token(secret: str) -> str:
    """What every form of a session carries: nobody without the cookie can know it."""
    return hmac.new(secret.encode(), b"inbox form", hashlib.sha256).hexdigest()


def carries_token(secret: str, token: object) -> bool:
    """Whether a token is that of the session."""
    return isinstance(token, str) and hmac.compare_digest(token.encode(), csrf_token(secret).encode())


def same_origin(request: Request) -> bool:
    """Whether a request comes from one of the gate's pages; a browser says so in a header that no page can set."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")  # older browsers, and plain http on other machines
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")
