"""The log of webhooks: what was delivered, what is tried again, what was given up and can be sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacksona_adapters.server.inbox.admin import administers, oversees
from stacksona_adapters.server.inbox.web import Site, Visit, action, page, redirect
from stacksona_adapters.server.service import deliveries

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from stacksona_adapters.server.service.context import Read
    from stacksona_adapters.server.service.deliveries import Attempt, DeliveryInfo

STATES = {"": "All", "dead": "Given up", "pending": "Under way", "delivered": "Delivered"}
_MOST = 50


def routes(site: Site) -> list[BaseRoute]:
    """The pages of this module."""
    return [
        page(site, "/inbox/deliveries", _log, role=oversees),
        action(site, "/inbox/deliveries/resend", _resend, role=administers),
    ]


async def _log(visit: Visit) -> Response:
    asked = visit.request.query_params.get("state", "")
    state = asked if asked in STATES else ""

    def look(read: Read) -> list[tuple[DeliveryInfo, list[Attempt]]]:
        found = deliveries.listed(read, state=state or None, limit=_MOST)
        return [(each, deliveries.attempts(read, each.delivery_id)) for each in found]

    listed = await visit.read(look)
    return visit.render("deliveries.html", section="deliveries", listed=listed, state=state, states=STATES, most=_MOST)


async def _resend(visit: Visit) -> Response:
    which = visit.field("which")
    await visit.write(lambda write: deliveries.resend(write, which, by=visit.reviewer))
    return redirect("/inbox/deliveries")
