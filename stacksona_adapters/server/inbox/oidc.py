"""Signing in at an OpenID Connect provider: the way there, the way back, and the way out."""

from __future__ import annotations

import hmac
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.routing import Route

from stacksona_adapters.server.api.browser import cookie_name, session_secret
from stacksona_adapters.server.api.http import served
from stacksona_adapters.server.api.problems import retry_after
from stacksona_adapters.server.inbox.web import Site, redirect, refused, set_cookie
from stacksona_adapters.server.oidc.errors import NotBelieved, ProviderUnavailable
from stacksona_adapters.server.oidc.flow import LIFETIME
from stacksona_adapters.server.oidc.person import person_of
from stacksona_adapters.server.oidc.settings import CALLBACK_PATH
from stacksona_adapters.server.service import identities, sessions
from stacksona_adapters.server.service.errors import NotAuthenticated, NotFound, NotPermitted, Refusal, TooMany
from stacksona_adapters.server.store.writer import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from stacksona_adapters.server.oidc.flow import Flow, Flows
    from stacksona_adapters.server.oidc.provider import Provider
    from stacksona_adapters.server.service.context import Write

    Page = Callable[[Request, str | None, int], Response]
    Checked = Callable[[str], str]

START_PATH = "/inbox/sign-in/oidc"
_SIGN_OUT_PATH = "/inbox/sign-in/oidc/sign-out"

log = logging.getLogger("stacksona.sign_in")


@dataclass(frozen=True)
class OidcSignIn:
    """What these pages work with; `app.state.oidc`."""

    provider: Provider
    flows: Flows


@dataclass(frozen=True)
class Offer:
    """What the sign-in page says of a provider.

    Attributes:
        name: The provider's name.
        href: Where its button leads.
        only: Whether there is no other way in but a link.
        sign_out: Where the provider's own session is ended; `None` where it is known to have no such place.
    """

    name: str
    href: str
    only: bool
    sign_out: str | None


def offer(request: Request, where: str, *, again: bool = False) -> Offer | None:
    """The provider's button, where there is a provider.

    Args:
        request: The request.
        where: The page to go on to.
        again: Whether the provider shall ask who it is, so that somebody else can sign in.
    """
    found: OidcSignIn | None = request.app.state.oidc
    if found is None:
        return None
    settings = found.provider.settings
    href = f"{START_PATH}?next={quote(where, safe='/')}" + ("&again=yes" if again else "")
    return Offer(settings.name, href, settings.only, _SIGN_OUT_PATH if found.provider.may_end_sessions else None)


def routes(site: Site, page: Page, checked: Checked) -> list[BaseRoute]:
    """The pages of this module.

    The way there is a link and no form: Chromium holds `form-action 'self'` against the redirect that follows a form
    as well, and the policy stays as narrow as it is.

    Args:
        site: The templates.
        page: Makes the sign-in page, with what went wrong and a status.
        checked: Gives the page to go on to, which is never another site's.
    """

    async def start(request: Request) -> Response:
        """Send the browser to the provider."""
        try:
            return await _start(_found(request), request, checked)
        except (Refusal, ProviderUnavailable, StoreUnavailable) as error:
            return _failed(site, page, request, error)

    async def callback(request: Request) -> Response:
        """The browser comes back from the provider."""
        try:
            response = await _callback(_found(request), request, checked)
        except (Refusal, ProviderUnavailable, NotBelieved, StoreUnavailable) as error:
            response = _failed(site, page, request, error)
        response.delete_cookie(_flow_cookie(request), path="/", secure=_secure(request), httponly=True, samesite="lax")
        return response

    async def sign_out(request: Request) -> Response:
        """Send the browser to where the provider ends its own session."""
        try:
            provider = _found(request).provider
            where = await provider.sign_out_url()
            if where is None:
                raise NotFound(f"{provider.settings.name} does not say where to sign out there.")
            return redirect(where)
        except (Refusal, ProviderUnavailable) as error:
            return _failed(site, page, request, error)

    return [
        Route(START_PATH, start, methods=["GET"], include_in_schema=False),
        Route(CALLBACK_PATH, callback, methods=["GET"], include_in_schema=False),
        Route(_SIGN_OUT_PATH, sign_out, methods=["GET"], include_in_schema=False),
    ]


def _found(request: Request) -> OidcSignIn:
    found: OidcSignIn | None = request.app.state.oidc
    if found is None:
        raise NotFound("This gate has no OpenID Connect provider.")
    return found


def _secure(request: Request) -> bool:
    return request.url.scheme == "https"


def _flow_cookie(request: Request) -> str:
    """The cookie's name; under https with the prefix that keeps other hosts of the domain from setting it."""
    name = cookie_name(request).replace("session", "sign_in")
    return f"__Host-{name}" if _secure(request) else name


async def _start(oidc: OidcSignIn, request: Request, checked: Checked) -> Response:
    clock = served(request).gate.settings.clock
    flow = oidc.flows.begin(checked(request.query_params.get("next", "")), clock.now())
    response = redirect(await oidc.provider.authorization_url(flow, again=request.query_params.get("again") == "yes"))
    response.set_cookie(
        _flow_cookie(request),
        oidc.flows.seal(flow),
        max_age=int(LIFETIME.total_seconds()),
        path="/",
        httponly=True,
        samesite="lax",
        secure=_secure(request),
    )
    return response


async def _callback(oidc: OidcSignIn, request: Request, checked: Checked) -> Response:
    gate, said = served(request), request.query_params
    flow = oidc.flows.open(request.cookies.get(_flow_cookie(request), ""), gate.gate.settings.clock.now())
    if flow is None or not hmac.compare_digest(flow.state.encode(), said.get("state", "").encode()):
        here = oidc.provider.settings.public_url
        raise NotAuthenticated(
            f"This sign-in took too long, or was begun in another window or not at {here}. Begin again."
        )
    await oidc.provider.check_origin(said.get("iss"))
    if "error" in said:
        log.warning("the provider signed nobody in: %.60r", said["error"])
        raise NotAuthenticated(f"{oidc.provider.settings.name} did not sign you in. Begin again, or ask an admin.")
    if not said.get("code"):
        raise NotBelieved("the answer has neither code nor error")
    started = await _exchange(oidc, request, said["code"], flow)
    response = redirect(checked(flow.next))
    set_cookie(request, response, started)
    return response


async def _exchange(oidc: OidcSignIn, request: Request, code: str, flow: Flow) -> str:
    """The secret of a new session. The provider is asked between two transactions, never within one."""
    gate, settings = served(request), oidc.provider.settings
    address = request.client.host if request.client else "unknown"
    counted = await gate.write(lambda write: sessions.attempt(write, None, address))
    person = person_of(await oidc.provider.claims(code, flow), settings)
    before = session_secret(request)

    def act(write: Write) -> str:
        started = identities.sign_in(write, person, add=settings.add_reviewers)
        sessions.succeeded(write, counted)
        if before:
            sessions.end(write, before)
        return started

    return await gate.write(act)


def _failed(
    site: Site, page: Page, request: Request, error: Refusal | ProviderUnavailable | NotBelieved | StoreUnavailable
) -> Response:
    """The sign-in page with what went wrong; what a provider said stays in the log."""
    if isinstance(error, ProviderUnavailable):
        log.warning("the OpenID Connect provider cannot be used: %s", error)
        return page(request, "The provider cannot be reached now. Try again in a minute, or sign in another way.", 503)
    if isinstance(error, NotBelieved):
        log.warning("a sign-in at the OpenID Connect provider failed: %s", error)
        return page(request, "The provider's answer does not hold. Begin again; if that fails, ask an admin.", 401)
    response = refused(site, error)
    if isinstance(error, NotPermitted):
        log.warning("the gate let nobody in: %s", error.detail)
    if isinstance(error, NotPermitted | NotAuthenticated | TooMany):
        shown = page(request, error.detail, response.status_code)
        shown.headers.update(retry_after(error))
        return shown
    return response
