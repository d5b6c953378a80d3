"""Policies: who may decide on which requests, and how many must approve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stacksona_adapters.protocol.requests import Risk
from stacksona_adapters.server.inbox.admin import administers, oversees
from stacksona_adapters.server.inbox.web import Site, Visit, action, page, redirect
from stacksona_adapters.server.service import accounts, policies
from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.server.service.errors import Refusal

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from stacksona_adapters.server.service.context import Read

_EMPTY: dict[str, Any] = {"agent": "", "tool": "", "risks": [], "deciders": [], "approvals": "1"}


def routes(site: Site) -> list[BaseRoute]:
    """The pages of this module."""
    return [
        page(site, "/inbox/policies", _policies, role=oversees),
        action(site, "/inbox/policies/add", _add, role=administers),
        action(site, "/inbox/policies/remove", _remove, role=administers),
    ]


async def _policies(visit: Visit) -> Response:
    return await _page(visit)


async def _page(visit: Visit, status: int = 200, **said: Any) -> Response:
    def look(read: Read) -> dict[str, Any]:
        people = accounts.everybody(read)
        return {
            "policies": policies.list_policies(read),
            "gaps": policies.gaps(read),
            "people": [name for name, role in people.items() if role.decides],
        }

    values = {**await visit.read(look), "entered": _EMPTY, "wrong": "", **said}
    roles = [f"{policies.ROLE}{role}" for role in Role if role.decides]
    more = {"risks": list(Risk), "roles": roles, "most": policies.MOST_APPROVALS}
    return visit.render("policies.html", status, section="policies", **values, **more)


async def _add(visit: Visit) -> Response:
    entered: dict[str, Any] = {
        "agent": visit.field("agent").strip(),
        "tool": visit.field("tool").strip(),
        "risks": visit.chosen("risk"),
        "deciders": visit.chosen("decider"),
        "approvals": visit.field("approvals"),
    }
    number = entered["approvals"]
    fields = {**entered, "agent": entered["agent"] or "*", "tool": entered["tool"] or "*"}
    fields["approvals"] = int(number) if number in map(str, range(10)) else 0
    try:
        await visit.write(lambda write: policies.add(write, fields, by=visit.reviewer))
    except Refusal as error:
        return await _page(visit, 422, wrong=error.detail, entered=entered)
    return redirect("/inbox/policies")


async def _remove(visit: Visit) -> Response:
    which = visit.field("which")
    try:
        await visit.write(lambda write: policies.remove(write, which, by=visit.reviewer))
    except Refusal as error:
        return await _page(visit, 409, wrong=error.detail)
    return redirect("/inbox/policies")
