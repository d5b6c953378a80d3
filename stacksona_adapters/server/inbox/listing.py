"""The list of requests: folders, search and filters, several at once."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from stacksona_adapters.protocol.requests import Risk
from stacksona_adapters.protocol.reviews import DecideRequest, Folder
from stacksona_adapters.server.inbox import approving, display
from stacksona_adapters.server.inbox.web import Site, Visit, action, page, redirect
from stacksona_adapters.server.service import reviews, search
from stacksona_adapters.server.service.errors import Refusal, invalid
from stacksona_adapters.server.service.search import Age, Order, Search

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from stacksona_adapters.protocol.reviews import Review
    from stacksona_adapters.server.inbox.display import Shown
    from stacksona_adapters.server.service.context import Read, Write

E = TypeVar("E", bound=Enum)

_MOST_AT_ONCE = 100


def routes(site: Site) -> list[BaseRoute]:
    """The pages of this module."""
    return [page(site, "/inbox", _list), action(site, "/inbox/several", _several)]


def _one_of(kind: type[E], value: str) -> E | None:
    return next((each for each in kind if each.value == value), None)


def wanted_by(query: Mapping[str, str]) -> Search:
    """The search that an address asks for; what it cannot mean is left out."""
    number = query.get("page", "1")
    folder = _one_of(Folder, query.get("folder", "")) or Folder.NEW
    usual = Order.RISK if folder in (Folder.NEW, Folder.REVIEWING, Folder.UNKNOWN) else Order.NEWEST
    return Search(
        folder=folder,
        text=query.get("q", "").strip().replace("\0", "")[:200],
        agent=query.get("agent", "").replace("\0", "")[:200],
        tool=query.get("tool", "").replace("\0", "")[:200],
        risk=_one_of(Risk, query.get("risk", "")),
        age=_one_of(Age, query.get("age", "")),
        order=_one_of(Order, query.get("order", "")) or usual,
        page=int(number) if number.isascii() and number.isdigit() and 0 < len(number) < 6 and int(number) else 1,
    )


def address(wanted: Search, **changed: Any) -> str:
    """The address of a search, with something changed."""
    told = {
        "folder": wanted.folder.value,
        "q": wanted.text,
        "agent": wanted.agent,
        "tool": wanted.tool,
        "risk": wanted.risk.value if wanted.risk else "",
        "age": wanted.age.value if wanted.age else "",
        "order": wanted.order.value,
        "page": wanted.page if wanted.page > 1 else "",
        **changed,
    }
    return "/inbox?" + urlencode({name: value for name, value in told.items() if value})


def glance(review: Review) -> Shown | None:
    """The sum of money in a request's arguments, for its line in the list."""
    values = review.arguments
    shown = (display.one(name, value, values) for name, value in list(values.items())[:30])
    return next((part for part in shown if part.kind == "money"), None)


async def _list(visit: Visit) -> Response:
    wanted = wanted_by(visit.request.query_params)
    done = visit.request.query_params.get("done", "")

    def look(read: Read) -> dict[str, Any]:
        agents, tools = search.choices(read, wanted.folder)
        return {
            "found": search.search(read, wanted),
            "counts": search.counts(read),
            "agents": agents,
            "tools": tools,
            "done": _decided(read, done) if done else None,
        }

    values = await visit.read(look)
    filtered = bool(wanted.text or wanted.agent or wanted.tool or wanted.risk or wanted.age)
    more: dict[str, Any] = {"wanted": wanted, "address": address, "glance": glance, "filtered": filtered}
    more |= {"Risk": Risk, "Age": Age, "Order": Order, "Folder": Folder}
    return visit.render("_list.html" if visit.partial else "list.html", **values, **more)


def _decided(read: Read, decision_id: str) -> Review | None:
    try:
        return reviews.detail(read, decision_id)
    except Refusal:
        return None


async def _several(visit: Visit) -> Response:
    chosen = [value for value in visit.form.getlist("chosen") if isinstance(value, str)][:_MOST_AT_ONCE]
    outcome, message = visit.field("outcome"), visit.field("message").strip()
    if outcome not in ("approve", "reject", "revise"):
        raise invalid("/outcome", "must be approve, reject or revise")
    if not chosen:
        return redirect("/inbox")
    pairs = [tuple(each.split(" ", 1)) if " " in each else (each, "") for each in chosen]
    missing = outcome != "approve" and not message
    if visit.field("confirmed") != "yes" or missing:
        listed = await visit.read(lambda read: [r for i, _ in pairs if (r := _decided(read, i)) is not None])
        values: dict[str, Any] = {"missing": missing and visit.field("confirmed") == "yes", "glance": glance}
        return visit.render("several.html", outcome=outcome, listed=listed, pairs=pairs, message=message, **values)
    results = [(name, await _decide(visit, name, seen, outcome, message)) for name, seen in pairs]
    return visit.render("several_done.html", outcome=outcome, results=results)


async def _decide(visit: Visit, decision_id: str, seen: str, outcome: str, message: str) -> tuple[bool, str]:
    """Whether it was done, and why not or what is still needed."""
    asked = DecideRequest.model_validate({"outcome": outcome, "message": message or None})

    def act(write: Write) -> str:
        if outcome == "approve":
            approving.check_unchanged(write, decision_id, seen)
        return approving.more_needed(write, reviews.decide(write, visit.reviewer, decision_id, asked, seen))

    try:
        return True, await visit.write(act)
    except Refusal as error:
        return False, error.detail
