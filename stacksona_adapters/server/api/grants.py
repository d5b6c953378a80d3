"""Bounded grants, for reviewers. They are made together with an approval (`reviews.decide`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacksona_adapters.protocol.grants import Grant, GrantPage
from stacksona_adapters.protocol.reviews import ReviewPage
from stacksona_adapters.server.api.http import answer, reviewer_read, reviewer_write, text_of
from stacksona_adapters.server.api.reviews import page_of
from stacksona_adapters.server.api.routes import Endpoint
from stacksona_adapters.server.service import grants, reviews

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from stacksona_adapters.server.service.context import Read


def _grant_id(request: Request) -> str:
    return text_of(request.path_params["grant_id"], "grant_id")


async def list_grants(request: Request) -> Response:
    """A page of grants, those that have ended too, newest first."""
    page = page_of(request)
    return answer(await reviewer_read(request, lambda read, _: grants.list_grants(read, page.after, page.limit)))


async def uses(request: Request) -> Response:
    """A page of the requests that a grant has allowed, newest first."""
    grant_id, page = _grant_id(request), page_of(request)

    def look(read: Read, _: str) -> ReviewPage:
        return reviews.granted(read, grants.find(read, grant_id).grant_id, page)

    return answer(await reviewer_read(request, look))


async def revoke(request: Request) -> Response:
    """Revoke a grant."""
    grant_id = _grant_id(request)
    return answer(await reviewer_write(request, lambda write, reviewer: grants.revoke(write, reviewer, grant_id)))


ENDPOINTS = [
    Endpoint("GET", "/v1/grants", list_grants, None, {200: GrantPage}, ("cursor", "limit")),
    Endpoint("GET", "/v1/grants/{grant_id}/uses", uses, None, {200: ReviewPage}, ("cursor", "limit")),
    Endpoint("DELETE", "/v1/grants/{grant_id}", revoke, None, {200: Grant}),
]
