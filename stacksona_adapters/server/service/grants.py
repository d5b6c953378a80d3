"""Bounded grants: a reviewer permits requests like the one that they approve, so many, until a time.

A grant turns a review into an allow and nothing else: a rule that rejects goes before it. Whatever makes it doubtful
whether a request is meant (another name, a higher risk, an argument that was not named, a value that is hidden) leaves
the request to a person.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from sqlalchemy import and_, bindparam, delete, func, insert, or_, select, update

from stacksona_adapters.protocol.chain import canonical_value
from stacksona_adapters.protocol.grants import LONGEST_DAYS, Grant, GrantPage, GrantRequest, GrantState, Limit
from stacksona_adapters.protocol.requests import Risk
from stacksona_adapters.server.service import journal, policies, records
from stacksona_adapters.server.service.errors import Conflict, Invalid, NotFound, invalid
from stacksona_adapters.server.service.limits import misfits
from stacksona_adapters.server.service.pointers import join
from stacksona_adapters.server.service.tokens import new_id
from stacksona_adapters.server.store.grant_tables import grants
from stacksona_adapters.server.store.tables import decisions
from stacksona_adapters.server.store.tables import records as chained

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Row

    from stacksona_adapters.protocol.requests import GateRequest
    from stacksona_adapters.server.service.context import Read, Write
    from stacksona_adapters.server.service.policies import Requirement
    from stacksona_adapters.server.service.rules import Call

LONGEST = timedelta(days=LONGEST_DAYS)
"""How far ahead a grant may end."""

_RISKS = list(Risk)
_LIMITS: TypeAdapter[dict[str, Limit]] = TypeAdapter(dict[str, Limit])
_OPEN = (grants.c.revoked_at.is_(None), grants.c.used < grants.c.max_uses)
_OF_CALL = (
    select(grants)
    .where(grants.c.agent == bindparam("agent"), grants.c.tool == bindparam("tool"))
    .where(grants.c.until > bindparam("now", type_=grants.c.until.type), *_OPEN)
    .order_by(grants.c.until, grants.c.number)
)
_COUNT = (
    update(grants)
    .where(grants.c.number == bindparam("which"))
    .where(grants.c.until > bindparam("now", type_=grants.c.until.type), *_OPEN)
    .values(used=grants.c.used + 1)
)


def make(write: Write, row: Row[Any], reviewer: str, wanted: GrantRequest, arguments: Mapping[str, Any]) -> None:
    """Make a grant, in the transaction that approves the request that it comes from.

    Args:
        write: The transaction.
        row: The request, as it was before it was decided.
        reviewer: Who approves it.
        wanted: The grant.
        arguments: The arguments that are approved.

    Raises:
        Invalid: If it cannot be made, or would not admit the very arguments that are approved.
        Conflict: If the request's risk is not the one that the reviewer saw.
    """
    if wanted.risk not in (None, Risk(row.risk)):
        raise Conflict(f"The request's risk is {row.risk} now; look at it again.")
    check(write, wanted, arguments)
    values: dict[str, Any] = {
        "id": new_id("grant"),
        "agent": row.agent,
        "label": row.label,
        "tool": row.action,
        "risk": row.risk,
        "limits": records.canonical(_LIMITS.dump_python(wanted.limits, mode="json")),
        "max_uses": wanted.max_uses,
        "used": 0,
        "until": _end(write.now, wanted),
        "created_by": reviewer,
        "created_at": write.now,
        "decision_id": row.decision_id,
    }
    write.connection.execute(insert(grants), values)
    write.memory.pop(_memory(row.agent, row.action), None)
    said = _said(values)
    records.append(write, row.agent, row.task_id, "grant.made", {**said, "by": reviewer})
    journal.record(write, reviewer, "grant.made", said)


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the trail says of a grant that is made."""
    said = {name: values[name] for name in ("agent", "label", "tool", "risk", "max_uses", "decision_id")}
    said |= {"grant_id": values["id"], "limits": canonical_value(values["limits"])}
    return {**said, "until": records.rfc3339(values["until"])}


def check(read: Read, wanted: GrantRequest, arguments: Mapping[str, Any]) -> None:
    """Whether a grant can be made for these arguments.

    Raises:
        Invalid: If not; with one entry for each argument that is outside of its limit.
    """
    if not read.facts.grants:
        raise invalid("/grant", "cannot be made: this gate has grants switched off")
    end = _end(read.now, wanted)
    if not read.now < end <= read.now + LONGEST:
        raise invalid("/grant/until", f"must be in the future, and at most {LONGEST_DAYS} days ahead")
    wrong = misfits(wanted.limits, arguments)
    if wrong:
        raise Invalid("The grant does not admit what is approved.", [_misfit(wanted, n, arguments) for n in wrong])


def check_needs(needs: Requirement) -> None:
    """Refuse a grant for requests on which one person alone may not decide.

    Raises:
        Invalid: If several people must approve each of them.
    """
    if needs.approvals > 1:
        raise invalid("/grant", f"cannot be made: such requests need {needs.approvals} people each time")


def _misfit(wanted: GrantRequest, name: str, arguments: Mapping[str, Any]) -> tuple[str, str]:
    if name not in wanted.limits:
        return join(("grant", "limits", name)), "is missing: an argument without a limit is not granted"
    if name not in arguments:
        return join(("grant", "limits", name)), "names an argument that the request does not have"
    return join(("grant", "limits", name)), "does not admit the value that is approved"


def _end(now: datetime, wanted: GrantRequest) -> datetime:
    if (wanted.until is None) == (wanted.lasts is None):
        raise invalid("/grant/until", "is needed, or lasts (in seconds), and not both")
    return wanted.until or now + timedelta(seconds=wanted.lasts or 0)


def use(write: Write, agent: str, asked: GateRequest, review_rule: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Count one use of a grant that holds for a request; of several, the one that ends first.

    Args:
        write: The transaction of the request: where it is undone, so is the use.
        agent: Whose key asks.
        asked: The request.
        review_rule: The rule that would have a person look, if it is a rule.

    Returns:
        What the decision says of the grant, in the place of a rule; `None` where a person has to look.
    """
    # A proposal that answers a reviewer's words goes back to a person.
    if not write.facts.grants or asked.revises is not None:
        return None
    for row in _of_call(write, agent, asked.action):
        if _matches(row, asked) and not _suspended(write, row, asked.risk) and _count(write, row):
            end = records.rfc3339(row.until)
            said = {"type": "grant", "id": row.id, "by": row.created_by, "until": end, "outcome": "allow"}
            return {**said, "agent": row.agent, "tool": row.tool, "review_rule": review_rule}
    return None


def _memory(agent: str, tool: str) -> tuple[str, str, str]:
    return ("grants", agent, tool)


def _of_call(write: Write, agent: str, tool: str) -> list[Row[Any]]:
    """The grants for a tool, read once per transaction; `_count` makes sure that they still hold."""
    known: list[Row[Any]] | None = write.memory.get(_memory(agent, tool))
    if known is None:
        found = write.connection.execute(_OF_CALL, {"agent": agent, "tool": tool, "now": write.now})
        known = write.memory[_memory(agent, tool)] = list(found)
    return known


def _matches(row: Row[Any], asked: GateRequest) -> bool:
    if row.label != (asked.agent or asked.agent_id) or _RISKS.index(asked.risk) > _RISKS.index(Risk(row.risk)):
        return False
    return not misfits(_limits(row), asked.arguments)


def _limits(row: Row[Any]) -> dict[str, Limit]:
    return _LIMITS.validate_python(canonical_value(row.limits))


def _suspended(read: Read, row: Row[Any], risk: Risk) -> bool:
    """Whether a grant does not count, because its maker could not decide such a request alone."""
    needs = policies.requirement(read, agent=row.agent, label=row.label, tool=row.tool, risk=risk)
    return needs.approvals > 1 or row.created_by not in policies.people(read).able(row.agent, needs)


def _count(write: Write, row: Row[Any]) -> bool:
    return write.connection.execute(_COUNT, {"which": row.number, "now": write.now}).rowcount == 1


def trial(read: Read, call: Call) -> Grant | None:
    """The grant that would allow a call of at most its own risk; nothing is counted."""
    mine = or_(grants.c.agent.in_(call.agents), grants.c.label.in_(call.agents))
    query = select(grants).where(mine, grants.c.tool == call.tool, grants.c.until > read.now, *_OPEN)
    for row in read.connection.execute(query.order_by(grants.c.until, grants.c.number)).all():
        found = grant(read, row)
        if found.state is GrantState.LIVE and not misfits(found.limits, call.arguments):
            return found
    return None


def grant(read: Read, row: Row[Any]) -> Grant:
    """A row as it goes over the wire."""
    fields = {name: getattr(row, name) for name in Grant.model_fields if name not in ("grant_id", "limits", "state")}
    return Grant(**fields, grant_id=row.id, limits=_limits(row), state=_state(read, row))


def _state(read: Read, row: Row[Any]) -> GrantState:
    if row.revoked_at is not None:
        return GrantState.REVOKED
    if row.used >= row.max_uses:
        return GrantState.USED_UP
    if row.until <= read.now:
        return GrantState.EXPIRED
    off = not read.facts.grants or _suspended(read, row, Risk(row.risk))
    return GrantState.SUSPENDED if off else GrantState.LIVE


def list_grants(read: Read, after: str | None, limit: int) -> GrantPage:
    """A page of grants, those that have ended too, newest first.

    Args:
        read: The transaction.
        after: `next` of the page before.
        limit: How many at the most.

    Raises:
        Invalid: If the cursor is not one of this listing's.
    """
    query = select(grants)
    if after is not None:
        if not after.isascii() or not after.isdigit() or len(after) > 18:
            raise invalid("/cursor", "is not the `next` of an earlier page")
        query = query.where(grants.c.number < int(after))
    rows = read.connection.execute(query.order_by(grants.c.number.desc()).limit(limit + 1)).all()
    shown = [grant(read, row) for row in rows[:limit]]
    return GrantPage(grants=shown, next=str(rows[limit - 1].number) if len(rows) > limit else None)


def standing(read: Read) -> list[Grant]:
    """The grants that have not ended, those that end first at the top."""
    query = select(grants).where(grants.c.until > read.now, *_OPEN).order_by(grants.c.until, grants.c.number)
    return [grant(read, row) for row in read.connection.execute(query)]


def find(read: Read, grant_id: str) -> Grant:
    """One grant.

    Raises:
        NotFound: If there is none with that id.
    """
    return grant(read, _row(read, grant_id))


def _row(read: Read, grant_id: str) -> Row[Any]:
    row = read.connection.execute(select(grants).where(grants.c.id == grant_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no grant {grant_id!r:.120}.")
    return row


def made_with(read: Read, decision_id: str) -> list[Grant]:
    """The grants that were made while a request was approved."""
    query = select(grants).where(grants.c.decision_id == decision_id)
    return [grant(read, row) for row in read.connection.execute(query)]


def ended(read: Read, limit: int) -> list[Grant]:
    """The grants that have ended, newest first."""
    query = select(grants).where(_over(read.now)).order_by(grants.c.number.desc()).limit(limit)
    return [grant(read, row) for row in read.connection.execute(query)]


def forged(connection: Connection) -> str | None:
    """What is wrong with the first grant that is not what the gate's own chain says of it; `None` where all are."""
    mine = (chained.c.agent == journal.NOBODY, chained.c.task_id == journal.CHAIN)
    query = select(chained.c.kind, chained.c.payload).where(*mine, chained.c.kind.in_(("grant.made", "grant.revoked")))
    told = [(row.kind, canonical_value(row.payload)) for row in connection.execute(query)]
    made = {each.pop("grant_id"): each for kind, each in told if kind == "grant.made"}
    ended = {each["grant_id"] for kind, each in told if kind == "grant.revoked"}
    for row in connection.execute(select(grants).order_by(grants.c.number)).mappings():
        is_now = {**_said(dict(row)), "by": row["created_by"]}
        if {"grant_id": row["id"], **made.get(row["id"], {})} != is_now:
            return f"grant {row['id']} is not what the record of its making says"
        if row["id"] in ended and row["revoked_at"] is None:
            return f"grant {row['id']} was revoked, and is not any more"
        uses = select(func.count()).where(decisions.c.grant_id == row["id"])
        if not connection.execute(uses).scalar_one() <= row["used"] <= row["max_uses"]:
            return f"grant {row['id']} has allowed more requests than it counts"
    return None


def _over(moment: datetime) -> ColumnElement[bool]:
    return or_(grants.c.until <= moment, grants.c.revoked_at.is_not(None), grants.c.used >= grants.c.max_uses)


def revoke(write: Write, reviewer: str, grant_id: str) -> Grant:
    """Revoke a grant; it holds for no later request.

    Raises:
        NotFound: If there is no such grant.
        Conflict: If it was revoked before.
    """
    row = _row(write, grant_id)
    if row.revoked_at is not None:
        facts = {"revoked_by": row.revoked_by, "revoked_at": records.rfc3339(row.revoked_at)}
        raise Conflict(f"The grant was revoked before by {row.revoked_by}.", **facts)
    ended = {"revoked_at": write.now, "revoked_by": reviewer}
    write.connection.execute(update(grants).where(grants.c.number == row.number).values(**ended))
    write.memory.pop(_memory(row.agent, row.tool), None)
    said = {"grant_id": row.id, "agent": row.agent, "label": row.label, "tool": row.tool, "used": row.used}
    journal.record(write, reviewer, "grant.revoked", {**said, "made_by": row.created_by})
    return find(write, grant_id)


def revoke_all(write: Write, by: str, reviewer: str) -> None:
    """Revoke every grant of a reviewer that has not ended."""
    mine = (grants.c.created_by == reviewer, grants.c.until > write.now, *_OPEN)
    for grant_id in list(write.connection.execute(select(grants.c.id).where(*mine)).scalars()):
        revoke(write, by, grant_id)


def forget(write: Write, before: datetime) -> None:
    """Remove the grants that could no longer be used since a moment."""
    gone = or_(grants.c.until < before, and_(grants.c.revoked_at.is_not(None), grants.c.revoked_at < before))
    write.connection.execute(delete(grants).where(gone))
