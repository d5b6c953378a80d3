"""The log of webhooks: what was delivered, what is tried again, what was given up and can be sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from stacksona_adapters.server.inbox.admin import administers, oversees
from stacksona_adapters.server.inbox.web import Site, Visit, action, page, redirect
from stacksona_adapters.server.service import deliveries

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from stacksona_adapters.server.service.context import Read

STATES = {"dead": "Given up", "pending": "Under way", "delivered": "Delivered", "": "All"}
"""The states as the page names them; what somebody has to do comes first."""


def routes(site: Site) -> list[BaseRoute]:
    """The pages of this module."""
    return [
        page(site, "/inbox/deliveries", _log, role=oversees),
        action(site, "/inbox/deliveries/resend", _resend, role=administers),
    ]


def address(state: str, **where: int | None) -> str:
    """The address of a part of the log."""
    told = {"state": state, **where}
    query = urlencode({name: value for name, value in told.items() if value})
    return f"/inbox/deliveries?{query}" if query else "/inbox/deliveries"


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


async def _log(visit: Visit) -> Response:
    asked = visit.request.query_params
    state = asked.get("state", "")
    state = state if state in STATES else ""
    before, after = _number(asked.get("before", "")), _number(asked.get("after", ""))

    def look(read: Read) -> dict[str, Any]:
        found = deliveries.page(read, state=state or None, before=before, after=after)
        tries = deliveries.attempts(read, [each.delivery_id for each in found.listed])
        return {"found": found, "tries": tries, "counts": deliveries.counts(read)}

    values = await visit.read(look)
    here = address(state, before=before, after=after)
    return visit.render(
        "deliveries.html", section="deliveries", **values, state=state, states=STATES, address=address, here=here
    )


async def _resend(visit: Visit) -> Response:
    which, back = visit.field("which"), visit.field("back")
    await visit.write(lambda write: deliveries.resend(write, which, by=visit.reviewer))
    return redirect(back if back.startswith("/inbox/deliveries?") else "/inbox/deliveries")
