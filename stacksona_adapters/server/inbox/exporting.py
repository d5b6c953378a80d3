"""The export of one request: by the reviewer's API (wire contract, section 6), and by the form on its page."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import Response

from stacksona_adapters.server.api.http import answer, reviewer_write, text_of
from stacksona_adapters.server.api.routes import Endpoint
from stacksona_adapters.server.inbox import display, printed
from stacksona_adapters.server.inbox.web import HEADERS, Site, Visit, action
from stacksona_adapters.server.service import exports
from stacksona_adapters.server.service.errors import NotPermitted, invalid
from stacksona_adapters.server.service.exports import Format

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from stacksona_adapters.server.service.context import Write
    from stacksona_adapters.server.service.exports import Exported


def routes(site: Site) -> list[BaseRoute]:
    """The pages of this module."""
    return [action(site, "/inbox/requests/{decision_id}/export", _export, role=None)]


async def export(request: Request) -> Response:
    """A request's whole history, as JSON or as an HTML file; that it was exported is recorded."""
    decision_id, form = _decision_id(request), _format(request)
    _check_meant(request)

    def act(write: Write, reviewer: str) -> Exported:
        return exports.export(write, reviewer, decision_id, form)

    exported = await reviewer_write(request, act, decides=False)
    if form is Format.JSON:
        return answer(exported.as_json())
    return await asyncio.to_thread(printed.as_file, exported)


def _decision_id(request: Request) -> str:
    return text_of(request.path_params["decision_id"], "decision_id")


def _format(request: Request) -> Format:
    """What the query names; without it HTML for who asks for that and not for JSON, as browsers do."""
    name, accepts = request.query_params.get("format"), request.headers.get("accept", "")
    if name is None:
        return Format.HTML if "text/html" in accepts and "application/json" not in accepts else Format.JSON
    return _named(name, "query format")


def _named(name: str, where: str) -> Format:
    if name not in ("json", "html"):
        raise invalid(where, "must be json or html")
    return Format(name)


def _check_meant(request: Request) -> None:
    """Refuse what would record an export that nobody asked for: a browser's prefetch, and another site's link."""
    if "prefetch" in request.headers.get("sec-purpose", request.headers.get("purpose", "")):
        raise NotPermitted("An export is recorded, so it is not made in advance.")
    by_session = "authorization" not in request.headers
    if by_session and request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise NotPermitted("An export is recorded, so another site cannot ask for it.")


async def _export(visit: Visit) -> Response:
    """The request's whole history as a file; a form's doing, because it is recorded."""
    form, decision_id = _named(visit.field("format"), "/format"), _decision_id(visit.request)
    exported = await visit.write(lambda write: exports.export(write, visit.reviewer, decision_id, form))
    if form is Format.HTML:
        return await asyncio.to_thread(printed.as_file, exported)
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="stacksona-{exported.review.thread_id}.json"'}
    return Response(display.as_json(exported.as_json()), 200, headers, media_type="application/json")


ENDPOINTS = [
    Endpoint("GET", "/v1/reviews/{decision_id}/export", export, None, {200: dict}, ("format",), head=False),
]
