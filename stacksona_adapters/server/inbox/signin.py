"""Signing in and out."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from starlette.routing import Route

from stacksona_adapters.server.api.browser import cookie_name, same_origin
from stacksona_adapters.server.api.http import served, text_of
from stacksona_adapters.server.api.problems import retry_after
from stacksona_adapters.server.inbox import oidc
from stacksona_adapters.server.inbox.web import (
    Site,
    Visit,
    page,
    redirect,
    refused,
    set_cookie,
)
from stacksona_adapters.server.inbox.web import action as form
from stacksona_adapters.server.service import accounts, sessions
from stacksona_adapters.server.service.errors import Invalid, NotAuthenticated, NotPermitted, Refusal
from stacksona_adapters.server.store.writer import StoreUnavailable

if TYPE_CHECKING:
    from starlette.datastructures import FormData
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from stacksona_adapters.server.api.http import Served
    from stacksona_adapters.server.service.context import Write

_WRONG = "Name and password do not fit."


def routes(site: Site) -> list[BaseRoute]:
    """The pages of this module."""

    async def ask(request: Request) -> Response:
        """The form. Opening it, by whatever method, uses no link up."""
        return _form(site, request, None, 200)

    async def sign_in(request: Request) -> Response:
        """Check what was entered and start a session."""
        try:
            return await _sign_in(site, request)
        except StoreUnavailable as error:
            return refused(site, error)
        except Refusal as error:
            response = refused(site, error)
            if isinstance(error, NotPermitted):
                return response
            again = _form(site, request, error.detail, response.status_code)
            again.headers.update(retry_after(error))
            return again

    return [
        Route("/inbox/sign-in", ask, methods=["GET"], include_in_schema=False),
        Route("/inbox/sign-in", sign_in, methods=["POST"], include_in_schema=False),
        *oidc.routes(site, partial(_form, site), _next),
        form(site, "/inbox/sign-out", _sign_out, role=None),
        page(site, "/inbox/account", _account),
        form(site, "/inbox/account/password", _set_password, role=None),
        form(site, "/inbox/account/sign-out-others", _sign_out_others, role=None),
    ]


def _form(site: Site, request: Request, wrong: str | None, status: int) -> Response:
    where = _next(request.query_params.get("next", ""))
    # Who was refused may be somebody else at the provider too, which would not ask them by itself.
    provider = oidc.offer(request, where, again=status == 403)
    signed_out = request.query_params.get("done") == "out"
    values = {"wrong": wrong, "next": where, "provider": provider, "signed_out": signed_out}
    return site.render("sign_in.html", status, values)


def _next(where: str) -> str:
    """A page of this inbox to go on to; never another site."""
    fine = where.startswith("/inbox") and where.isprintable() and "\\" not in where and not where.startswith("//")
    return where if fine and not where.startswith("/inbox/sign") else "/inbox"


async def _sign_in(site: Site, request: Request) -> Response:
    if not same_origin(request):
        raise NotPermitted("This form was not sent from the sign-in page, so nothing was done.")
    entered = await request.form(max_files=0, max_fields=10)
    gate, address = served(request), request.client.host if request.client else "unknown"
    name, password, secret = (_text(entered, field) for field in ("name", "password", "secret"))
    if _provider_only(gate) and not secret.startswith("sl_"):
        raise NotAuthenticated("Passwords and tokens sign nobody in here. Use the provider, or a sign-in link.")
    started = await (_by_secret(gate, secret, address) if secret else _by_password(site, gate, name, password, address))
    response = redirect(_next(_text(entered, "next")))
    set_cookie(request, response, started)
    return response


def _provider_only(gate: Served) -> bool:
    provider = gate.gate.settings.oidc
    return provider is not None and provider.only


def _text(entered: FormData, field: str) -> str:
    value = entered.get(field)
    return text_of(value.strip() if field != "password" else value, field) if isinstance(value, str) else ""


async def _by_secret(gate: Served, secret: str, address: str) -> str:
    counted = await gate.write(lambda write: sessions.attempt(write, None, address))

    def act(write: Write) -> str:
        started = sessions.by_secret(write, secret)
        sessions.succeeded(write, counted)
        return started

    return await gate.write(act)


async def _by_password(site: Site, gate: Served, name: str, password: str, address: str) -> str:
    if not name or not password:
        raise Invalid("Enter your name and password, or a sign-in token.")
    counted = await gate.write(lambda write: sessions.attempt(write, name, address))
    kept = await gate.read(lambda read: accounts.password_hash_of(read, name))
    if not await asyncio.to_thread(site.passwords.fits, password, kept):
        raise NotAuthenticated(_WRONG)

    def act(write: Write) -> str:
        if accounts.password_hash_of(write, name) != kept:  # changed while it was checked
            raise NotAuthenticated(_WRONG)
        sessions.succeeded(write, counted)
        return sessions.new_session(write, name, how="password")

    return await gate.write(act)


async def _sign_out(visit: Visit) -> Response:
    await visit.write(lambda write: sessions.end(write, visit.secret))
    response = redirect("/inbox/sign-in?done=out")
    response.delete_cookie(cookie_name(visit.request), path="/")
    return response


async def _account(visit: Visit) -> Response:
    return await _account_page(visit, visit.request.query_params.get("done", ""), {})


async def _account_page(visit: Visit, done: str, wrong: dict[str, str], status: int = 200) -> Response:
    has = await visit.read(lambda read: accounts.password_hash_of(read, visit.reviewer) is not None)
    passwords = not _provider_only(visit.served)
    return visit.render("account.html", status, done=done, wrong=wrong, has_password=has, passwords=passwords)


async def _set_password(visit: Visit) -> Response:
    if _provider_only(visit.served):
        raise NotPermitted("Passwords sign nobody in here.")
    fresh, again, current = (str(visit.form.get(name) or "") for name in ("password", "again", "current"))
    kept = await visit.read(lambda read: accounts.password_hash_of(read, visit.reviewer))
    if kept is not None:
        address = visit.request.client.host if visit.request.client else "unknown"
        counted = await visit.write(lambda write: sessions.attempt(write, visit.reviewer, address))
        if not await asyncio.to_thread(visit.site.passwords.fits, current, kept):
            return await _account_page(visit, "", {"current": "This is not your present password."}, 422)
        await visit.write(lambda write: sessions.succeeded(write, counted))
    if fresh != again:
        return await _account_page(visit, "", {"again": "The two are not the same."}, 422)
    try:
        made = await asyncio.to_thread(visit.site.passwords.hash, fresh)
    except Invalid as error:
        return await _account_page(visit, "", {"password": f"The password {error.errors[0][1]}."}, 422)

    def act(write: Write) -> None:
        accounts.set_password_hash(write, visit.reviewer, made)
        sessions.end_others(write, visit.reviewer, visit.secret)

    await visit.write(act)
    return redirect("/inbox/account?done=password")


async def _sign_out_others(visit: Visit) -> Response:
    await visit.write(lambda write: sessions.end_others(write, visit.reviewer, visit.secret))
    return redirect("/inbox/account?done=others")
