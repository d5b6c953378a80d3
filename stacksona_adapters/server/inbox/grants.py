"""Grants: what reviewers have permitted beyond one request, with a button that ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stacksona_adapters.server.api.http import text_of
from stacksona_adapters.server.inbox.listing import glance
from stacksona_adapters.server.inbox.web import Site, Visit, action, page, redirect
from stacksona_adapters.server.service import grants, reviews
from stacksona_adapters.server.service.errors import Conflict

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from stacksona_adapters.server.service.context import Read

_MOST_ENDED = 100


def routes(site: Site) -> list[BaseRoute]:
    """The pages of this module; every reviewer sees them, because everyone who decides may make and revoke a grant."""
    return [
        page(site, "/inbox/grants", _grants),
        page(site, "/inbox/grants/{grant_id}", _grant),
        action(site, "/inbox/grants/revoke", _revoke),
    ]


async def _grants(visit: Visit) -> Response:
    return await _page(visit)


async def _grant(visit: Visit) -> Response:
    """One grant, and the requests that it has allowed."""
    grant_id = text_of(str(visit.request.path_params["grant_id"]), "grant_id")

    def look(read: Read) -> dict[str, Any]:
        found = reviews.granted(read, grant_id, reviews.Page(limit=reviews.MOST))
        return {"grant": grants.find(read, grant_id), "allowed": found.reviews, "more": found.next is not None}

    return visit.render("grant.html", section="grants", glance=glance, **await visit.read(look))


async def _page(visit: Visit, status: int = 200, **said: Any) -> Response:
    def look(read: Read) -> dict[str, Any]:
        return {"standing": grants.standing(read), "ended": grants.ended(read, _MOST_ENDED)}

    values = {**await visit.read(look), "wrong": "", "on": visit.served.gate.settings.grants, **said}
    return visit.render("grants.html", status, section="grants", **values)


async def _revoke(visit: Visit) -> Response:
    which = visit.field("which")
    try:
        await visit.write(lambda write: grants.revoke(write, visit.reviewer, which))
    except Conflict as error:
        return await _page(visit, 409, wrong=error.detail)
    return redirect("/inbox/rules" if visit.field("from") == "rules" else "/inbox/grants")
