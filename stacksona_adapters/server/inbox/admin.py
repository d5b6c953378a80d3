"""Who may use the gate: agents and their keys, reviewers and their roles; and the check of the audit trail."""

from __future__ import annotations

import asyncio
from datetime import timezone
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from stacksona_adapters.server.inbox.web import HEADERS, Site, Visit, action, page, redirect
from stacksona_adapters.server.service import accounts, identities, journal, keys, policies, revocation, sessions
from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.server.service.errors import Refusal, invalid

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from stacksona_adapters.server.service.context import Read, Write

_ENTRIES = 50


def oversees(role: Role) -> bool:
    """Who sees the pages of this module."""
    return role.oversees


def administers(role: Role) -> bool:
    """Who changes what they show."""
    return role.administers


def routes(site: Site) -> list[BaseRoute]:
    """The pages of this module."""
    shown = [("agents", _agents), ("reviewers", _reviewers), ("audit", _audit)]
    done = [
        ("agents/add", _add_agent),
        ("agents/revoke", _revoke_agent),
        ("reviewers/add", _add_reviewer),
        ("reviewers/link", _link),
        ("reviewers/role", _give_role),
        ("reviewers/revoke", _revoke_reviewer),
        ("reviewers/unlink", _unlink),
    ]
    return [
        *(page(site, f"/inbox/{path}", handler, role=oversees) for path, handler in shown),
        *(action(site, f"/inbox/{path}", handler, role=administers) for path, handler in done),
        action(site, "/inbox/audit/verify", _verify, role=oversees),
        action(site, "/inbox/audit/export", _export, role=oversees),
    ]


async def _agents(visit: Visit) -> Response:
    return await _agents_page(visit)


async def _agents_page(visit: Visit, status: int = 200, **said: Any) -> Response:
    def look(read: Read) -> dict[str, Any]:
        people = accounts.everybody(read)
        others = any(role.decides and name != visit.reviewer for name, role in people.items())
        gaps = [gap for gap in policies.gaps(read) if gap.agent != "*"]
        owner = visit.reviewer if others else ""
        return {"agents": keys.list_agents(read), "people": list(people), "owner": owner, "gaps": gaps}

    values = {**await visit.read(look), "made": None, "secret": None, "wrong": "", **said}
    return visit.render("agents.html", status, section="agents", **values)


async def _add_agent(visit: Visit) -> Response:
    name, signed = visit.field("name").strip(), visit.field("signed_approval") == "yes"
    webhook, owner = visit.field("webhook").strip() or None, visit.field("owner") or None
    try:
        made = await visit.write(
            lambda w: keys.add_agent(
                w, name, signed_approval=signed or None, webhook=webhook, owner=owner, by=visit.reviewer
            )
        )
    except Refusal as error:
        return await _agents_page(visit, 422, wrong=error.detail)
    return await _agents_page(visit, made=made, secret=made.webhook_secret if webhook else None)


async def _revoke_agent(visit: Visit) -> Response:
    which = visit.field("which")
    try:
        await visit.write(lambda write: keys.revoke_agent(write, which, by=visit.reviewer))
    except Refusal as error:
        return await _agents_page(visit, 409, wrong=error.detail)
    return redirect("/inbox/agents")


async def _reviewers(visit: Visit) -> Response:
    return await _reviewers_page(visit)


async def _reviewers_page(visit: Visit, status: int = 200, **said: Any) -> Response:
    def look(read: Read) -> dict[str, Any]:
        return {
            "reviewers": keys.list_reviewers(read),
            "accounts": accounts.roles(read),
            "linked": identities.names(read),
        }

    values = {**await visit.read(look), "made": None, "link": "", "whose": "", "wrong": "", "Role": Role, **said}
    return visit.render("reviewers.html", status, section="reviewers", **values)


def _role(visit: Visit) -> Role:
    try:
        return Role(visit.field("role"))
    except ValueError as error:
        raise invalid("/role", f"must be one of {', '.join(map(str, Role))}") from error


def _sign_in_link(visit: Visit, secret: str) -> str:
    return f"{str(visit.request.base_url).rstrip('/')}/inbox/sign-in#{secret}"


async def _add_reviewer(visit: Visit) -> Response:
    name, role = visit.field("name").strip(), _role(visit)

    def act(write: Write) -> tuple[keys.NewReviewer, str]:
        made = keys.add_reviewer(write, name, by=visit.reviewer)
        accounts.give_role(write, name, role, by=visit.reviewer, keep=True)
        return made, sessions.new_link(write, name, by=visit.reviewer)

    try:
        made, secret = await visit.write(act)
    except Refusal as error:
        return await _reviewers_page(visit, 422, wrong=error.detail)
    return await _reviewers_page(visit, made=made, link=_sign_in_link(visit, secret), whose=name)


async def _link(visit: Visit) -> Response:
    name = visit.field("name")
    secret = await visit.write(lambda write: sessions.new_link(write, name, by=visit.reviewer))
    return await _reviewers_page(visit, link=_sign_in_link(visit, secret), whose=name)


async def _give_role(visit: Visit) -> Response:
    name, role = visit.field("name"), _role(visit)
    try:
        await visit.write(lambda write: accounts.give_role(write, name, role, by=visit.reviewer))
    except Refusal as error:
        return await _reviewers_page(visit, 409, wrong=error.detail)
    return redirect("/inbox/reviewers" if name != visit.reviewer or role.oversees else "/inbox")


async def _revoke_reviewer(visit: Visit) -> Response:
    which = visit.field("which")

    def act(write: Write) -> None:
        accounts.check_not_last_admin(write, which)
        revocation.revoke_reviewer(write, which, by=visit.reviewer)

    try:
        await visit.write(act)
    except Refusal as error:
        return await _reviewers_page(visit, 409, wrong=error.detail)
    return redirect("/inbox/reviewers")


async def _unlink(visit: Visit) -> Response:
    name = visit.field("name")
    try:
        await visit.write(lambda write: identities.unlink(write, name, visit.reviewer))
    except Refusal as error:
        return await _reviewers_page(visit, 409, wrong=error.detail)
    return redirect("/inbox/reviewers")


async def _audit(visit: Visit) -> Response:
    return await _audit_page(visit, None)


async def _audit_page(visit: Visit, verified: Any) -> Response:
    key = visit.served.gate.audit_key
    text = visit.request.query_params.get("before", "")
    before = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
    entries = await visit.read(lambda read: journal.listed(read, before=before, limit=_ENTRIES + 1))
    older = entries[_ENTRIES - 1].seq if len(entries) > _ENTRIES else None
    values = {"entries": entries[:_ENTRIES], "older": older, "newest": before is None}
    return visit.render("audit.html", section="audit", verified=verified, public_key=key, **values)


async def _verify(visit: Visit) -> Response:
    return await _audit_page(visit, await asyncio.to_thread(visit.served.gate.verify_audit))


async def _export(visit: Visit) -> Response:
    lines = visit.served.gate.export_audit(visit.reviewer)
    day = visit.served.gate.settings.clock.now().astimezone(timezone.utc).strftime("%Y-%m-%d")
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="stacksona-audit-{day}.jsonl"'}
    return StreamingResponse(lines, 200, headers, "application/jsonl")
