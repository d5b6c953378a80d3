"""What the pages share: who looks, protection of every form, templates, and headers that forbid all else."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from markupsafe import Markup
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from stacksona_adapters.server.api.browser import carries_token, cookie_name, csrf_token, same_origin, session_secret
from stacksona_adapters.server.api.http import Served, served, text_of
from stacksona_adapters.server.api.problems import retry_after, status_of
from stacksona_adapters.server.inbox.templating import environment
from stacksona_adapters.server.service import errors, sessions
from stacksona_adapters.server.service.accounts import Passwords, Role
from stacksona_adapters.server.service.errors import Refusal
from stacksona_adapters.server.store.writer import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from stacksona_adapters.server.service.context import Read, Write
    from stacksona_adapters.server.service.sessions import Session

    Handler = Callable[["Visit"], Awaitable[Response]]

T = TypeVar("T")

CSRF_FIELD = "csrf"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""On every page: nothing runs or loads that is not this gate's own file, and nobody frames it."""


class Site:
    """The templates and what else all pages need."""

    def __init__(self, versions: Mapping[str, str]) -> None:
        self.passwords = Passwords()
        self._templates = environment()
        static = {name: f"/inbox/static/{name}?v={version}" for name, version in versions.items()}
        self._templates.globals.update(static=static)

    def render(self, template: str, status: int, values: Mapping[str, Any]) -> Response:
        """A page."""
        content = self._templates.get_template(template).render(values)
        return HTMLResponse(content, status, HEADERS)


@dataclass(frozen=True)
class Visit:
    """One request of somebody who is signed in.

    Attributes:
        request: The request.
        site: The templates.
        served: The running gate.
        secret: The session's secret.
        session: Who it is.
        form: What the form has; nothing for a GET.
    """

    request: Request
    site: Site
    served: Served
    secret: str
    session: Session
    form: FormData

    @property
    def reviewer(self) -> str:
        """The name of who looks."""
        return self.session.reviewer

    @property
    def partial(self) -> bool:
        """Whether htmx asks for a part of a page."""
        return self.request.headers.get("hx-request") == "true"

    def field(self, name: str) -> str:
        """A field of the form; empty where it is missing.

        Raises:
            Invalid: If it has what cannot be kept.
        """
        value = self.form.get(name)
        return text_of(value.replace("\r\n", "\n"), f"/{name}") if isinstance(value, str) else ""

    def chosen(self, name: str) -> list[str]:
        """What is ticked in the form under one name.

        Raises:
            Invalid: If it has what cannot be kept.
        """
        return [text_of(value, f"/{name}") for value in self.form.getlist(name) if isinstance(value, str)]

    async def read(self, act: Callable[[Read], T]) -> T:
        """Run a reading use case."""
        return await self.served.read(act)

    async def write(self, act: Callable[[Write], T]) -> T:
        """Run a writing use case."""
        return await self.served.write(act)

    def render(self, template: str, status: int = 200, /, **values: Any) -> Response:
        """A page, with what every page needs."""
        shared = {
            "me": self.session,
            "csrf": Markup('<input type="hidden" name="{}" value="{}">').format(CSRF_FIELD, csrf_token(self.secret)),
            "section": "inbox",
            "now": self.served.gate.settings.clock.now(),
            "path": self.request.url.path,
        }
        return self.site.render(template, status, {**shared, **values})

    async def render_apart(self, template: str, status: int = 200, /, **values: Any) -> Response:
        """A page that may be large, made in a thread of its own so that nobody waits for it."""
        return await asyncio.to_thread(lambda: self.render(template, status, **values))


def set_cookie(request: Request, response: Response, secret: str) -> None:
    """Start a session in the browser. Lax, so that a link in a notification finds the reviewer signed in."""
    response.set_cookie(
        cookie_name(request),
        secret,
        max_age=int(sessions.LONGEST_SESSION.total_seconds()),
        path="/",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


def redirect(where: str) -> Response:
    """Go on to another page, by GET."""
    return RedirectResponse(where, 303, HEADERS)


def page(site: Site, path: str, handler: Handler, *, role: Callable[[Role], bool] | None = None) -> Route:
    """A page for somebody who is signed in.

    Args:
        site: The templates.
        path: Where.
        handler: Makes it.
        role: Whose role may see it; everybody's where it is `None`.
    """

    async def get(request: Request) -> Response:
        return await _visit(site, request, handler, role)

    return Route(path, get, methods=["GET"], include_in_schema=False)


def action(
    site: Site, path: str, handler: Handler, *, role: Callable[[Role], bool] | None = lambda role: role.decides
) -> Route:
    """What a form does: only from these pages, with the session's token, by a role that may."""

    async def post(request: Request) -> Response:
        return await _visit(site, request, handler, role)

    return Route(path, post, methods=["POST"], include_in_schema=False)


async def _visit(site: Site, request: Request, handler: Handler, role: Callable[[Role], bool] | None) -> Response:
    try:
        gate, secret = served(request), session_secret(request)
        session = await gate.read(lambda read: sessions.find(read, secret)) if secret else None
        if session is None:
            return _sign_in_first(request)
        form = FormData()
        if request.method == "POST":
            form = await _checked_form(request, secret)
        if role is not None and not role(session.role):
            raise errors.NotPermitted(f"Your role ({session.role}) does not permit this.")
        if session.stale:
            await gate.write(lambda write: sessions.touch(write, secret))
        return await handler(Visit(request, site, gate, secret, session, form))
    except (Refusal, StoreUnavailable) as error:
        return refused(site, error)


async def _checked_form(request: Request, secret: str) -> FormData:
    if not same_origin(request):
        raise errors.NotPermitted("This form was not sent from the inbox, so nothing was done.")
    form = await request.form(max_files=0, max_fields=500)
    if not carries_token(secret, form.get(CSRF_FIELD)):
        raise errors.NotPermitted("This form belongs to another session, so nothing was done. Open the page again.")
    return form


def _sign_in_first(request: Request) -> Response:
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    where = "/inbox/sign-in" + (f"?next={quote(here)}" if request.method == "GET" else "")
    if request.headers.get("hx-request") == "true":
        return Response(status_code=401, headers={**HEADERS, "HX-Redirect": "/inbox/sign-in"})
    if "text/event-stream" in request.headers.get("accept", ""):
        return Response(status_code=401, headers=HEADERS)
    return redirect(where)


def refused(site: Site, error: Refusal | StoreUnavailable) -> Response:
    """The page that says why something was not done."""
    status = status_of(error) if isinstance(error, Refusal) else 503
    detail = error.detail if isinstance(error, Refusal) else f"The gate cannot answer now: {error}."
    response = site.render("error.html", status, {"status": status, "detail": detail})
    response.headers.update(retry_after(error) if isinstance(error, Refusal) else {"Retry-After": "1"})
    return response
