"""The reviewer's API (wire contract, section 6); the export, which may be a page, is in `inbox/exporting.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from stacksona_adapters.protocol.answers import write_v1
from stacksona_adapters.protocol.reviews import (
    DecideRequest,
    Folder,
    Note,
    NoteRequest,
    Review,
    ReviewDetail,
    ReviewPage,
    SettleRequest,
)
from stacksona_adapters.server.api.http import answer, body_of, reviewer_read, reviewer_write, text_of
from stacksona_adapters.server.api.routes import Endpoint
from stacksona_adapters.server.service import permissions, reviews
from stacksona_adapters.server.service.errors import invalid

if TYPE_CHECKING:
    from starlette.requests import Request

    from stacksona_adapters.server.service.context import Write


def _decision_id(request: Request) -> str:
    return text_of(request.path_params["decision_id"], "decision_id")


def page_of(request: Request) -> reviews.Page:
    """Which part of a listing a request asks for.

    Raises:
        Invalid: If `limit` is not within its bounds.
    """
    text = request.query_params.get("limit", str(reviews.PAGE))
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= reviews.MOST:
        raise invalid("query limit", f"must be a number from 1 to {reviews.MOST}")
    return reviews.Page(request.query_params.get("cursor"), int(text[:9]))


def _folder(request: Request) -> Folder | None:
    name = request.query_params.get("folder")
    try:
        return Folder(name) if name is not None else None
    except ValueError as error:
        raise invalid("query folder", f"must be one of {', '.join(map(str, Folder))}") from error


async def list_reviews(request: Request) -> Response:
    """A page of requests, by folder."""
    folder, page = _folder(request), page_of(request)
    return answer(await reviewer_read(request, lambda read, _: reviews.listing(read, folder, page)))


async def get_review(request: Request) -> Response:
    """A request with its timeline and notes."""
    decision_id = _decision_id(request)
    return answer(await reviewer_read(request, lambda read, me: reviews.detail(read, decision_id, me)))


async def decide(request: Request) -> Response:
    """Approve, reject or send back."""
    asked = (await body_of(request)).as_model(DecideRequest)
    decision_id = _decision_id(request)
    # The schema check is slow and may be long: not in the transaction, which all writers wait for.
    seen = await reviewer_read(request, lambda read, _: reviews.check(read, decision_id, asked))

    def act(write: Write, reviewer: str) -> dict[str, Any]:
        decision = reviews.decide(write, reviewer, decision_id, asked, seen)
        return {**write_v1(decision), **reviews.told(write, decision)}

    return answer(await reviewer_write(request, act))


async def add_note(request: Request) -> Response:
    """Save a note."""
    text = (await body_of(request)).as_model(NoteRequest).text
    decision_id = _decision_id(request)
    note = await reviewer_write(request, lambda write, reviewer: reviews.add_note(write, reviewer, decision_id, text))
    return answer(note, 201)


async def claim(request: Request) -> Response:
    """Say that you review it."""
    decision_id = _decision_id(request)
    return answer(await reviewer_write(request, lambda write, reviewer: reviews.claim(write, reviewer, decision_id)))


async def release(request: Request) -> Response:
    """Say that nobody reviews it now."""
    decision_id = _decision_id(request)
    review = await reviewer_write(
        request, lambda write, reviewer: reviews.claim(write, reviewer, decision_id, release=True)
    )
    return answer(review)


async def settle(request: Request) -> Response:
    """Settle an outcome that nobody reported."""
    asked = (await body_of(request)).as_model(SettleRequest)
    decision_id = _decision_id(request)
    decision = await reviewer_write(
        request, lambda write, reviewer: permissions.settle(write, reviewer, decision_id, asked)
    )
    return answer(write_v1(decision))


_ONE = "/v1/reviews/{decision_id}"

ENDPOINTS = [
    Endpoint("GET", "/v1/reviews", list_reviews, None, {200: ReviewPage}, ("folder", "cursor", "limit")),
    Endpoint("GET", _ONE, get_review, None, {200: ReviewDetail}),
    Endpoint("POST", f"{_ONE}/decide", decide, DecideRequest, {200: dict}),
    Endpoint("POST", f"{_ONE}/notes", add_note, NoteRequest, {201: Note}),
    Endpoint("POST", f"{_ONE}/claim", claim, None, {200: Review}),
    Endpoint("POST", f"{_ONE}/release", release, None, {200: Review}),
    Endpoint("POST", f"{_ONE}/settle", settle, SettleRequest, {200: dict}),
]
