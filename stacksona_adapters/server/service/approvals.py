"""Requests that several people must approve: who has approved which version, and whose approval counts."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select

from stacksona_adapters.protocol.decisions import Status
from stacksona_adapters.protocol.reviews import Approval
from stacksona_adapters.server.service import policies
from stacksona_adapters.server.service.errors import Conflict
from stacksona_adapters.server.store.policy_tables import approvals
from stacksona_adapters.server.store.tables import decisions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from stacksona_adapters.server.service.context import Read, Write
    from stacksona_adapters.server.service.policies import Requirement


@dataclass(frozen=True)
class Version:
    """What somebody approves: its digest, and the arguments where a reviewer changed them."""

    digest: str
    arguments: dict[str, Any] | None = None


def given(read: Read, row: Row[Any], needs: Requirement) -> list[Approval]:
    """The approvals of a request, oldest first.

    While it is pending one counts if its reviewer may still decide. Once it is approved, those are kept that it was
    approved by.
    """
    kept = _kept(read, [row.decision_id]).get(row.decision_id, [])
    if not kept:
        return []
    able = policies.people(read).able(row.agent, needs) if row.status == Status.PENDING_REVIEW.value else None
    return [_approval(one, counts=able is None or one.reviewer in able) for one in kept]


def _kept(read: Read, decision_ids: Sequence[str]) -> dict[str, list[Row[Any]]]:
    query = select(approvals).where(approvals.c.decision_id.in_(decision_ids)).order_by(approvals.c.number)
    found: dict[str, list[Row[Any]]] = {}
    for row in read.connection.execute(query):
        found.setdefault(row.decision_id, []).append(row)
    return found


def _approval(row: Row[Any], *, counts: bool) -> Approval:
    return Approval(
        reviewer_id=row.reviewer,
        at=row.at,
        action_digest=row.action_digest,
        arguments=json.loads(row.arguments) if row.arguments is not None else None,
        message=row.message,
        counts=counts,
    )


def leading(listed: Sequence[Approval]) -> list[Approval]:
    """The approvals that count for the version that most have approved; for the newest one, of two with as many."""
    counting = [one for one in listed if one.counts]
    if not counting:
        return []
    by = Counter(one.action_digest for one in counting)
    most = max(by.values())
    digest = next(one.action_digest for one in reversed(counting) if by[one.action_digest] == most)
    return [one for one in counting if one.action_digest == digest]


def progress(read: Read, rows: Sequence[Row[Any]]) -> dict[str, tuple[int, int]]:
    """How many approvals each pending request has and needs; only those that need more than one."""
    pending = [row for row in rows if row.status == Status.PENDING_REVIEW.value]
    needs = {row.decision_id: asked for row, asked in zip(pending, policies.of_rows(read, pending), strict=True)}
    several = [row for row in pending if needs[row.decision_id].approvals > 1]
    if not several:
        return {}
    people, kept = policies.people(read), _kept(read, [row.decision_id for row in several])
    found = {}
    for row in several:
        asked = needs[row.decision_id]
        able = people.able(row.agent, asked)
        listed = [_approval(one, counts=one.reviewer in able) for one in kept.get(row.decision_id, [])]
        found[row.decision_id] = len(leading(listed)), asked.approvals
    return found


def version_of(read: Read, decision_id: str, digest: str) -> Version | None:
    """The version that somebody has approved under this digest."""
    mine = (approvals.c.decision_id == decision_id, approvals.c.action_digest == digest)
    row = read.connection.execute(select(approvals).where(*mine).limit(1)).one_or_none()
    if row is None:
        return None
    return Version(digest, json.loads(row.arguments) if row.arguments is not None else None)


def give(
    write: Write, row: Row[Any], needs: Requirement, reviewer: str, version: Version, message: str | None
) -> list[Approval]:
    """Add a reviewer's approval, in place of an earlier one of theirs.

    Args:
        write: The transaction.
        row: The pending request.
        needs: What holds for it.
        reviewer: Who approves; the caller has checked that they may.
        version: What they approve.
        message: What the agent will be told.

    Returns:
        The approvals that count for this version, this one last; no others are kept once they are enough.

    Raises:
        Conflict: If they have approved this version before, and somebody else is needed.
    """
    others = [one for one in given(write, row, needs) if one.reviewer_id != reviewer]
    agreeing = [one for one in others if one.counts and one.action_digest == version.digest]
    mine = (approvals.c.decision_id == row.decision_id, approvals.c.reviewer == reviewer)
    before = write.connection.execute(select(approvals).where(*mine)).one_or_none()
    enough = len(agreeing) + 1 >= needs.approvals
    if before is not None and before.action_digest == version.digest and not enough:
        who = "a second person is needed" if needs.approvals == 2 else "another person is needed"
        have = f"{len(agreeing) + 1} of {needs.approvals} approvals"
        raise Conflict(f"You have approved it already; {who} ({have}).", decision_id=row.decision_id)
    write.connection.execute(delete(approvals).where(*mine))
    values = {"decision_id": row.decision_id, "reviewer": reviewer, "at": write.now, "action_digest": version.digest}
    values |= {"arguments": json.dumps(version.arguments) if version.arguments is not None else None}
    write.connection.execute(insert(approvals), {**values, "message": message})
    if enough:
        keep = [one.reviewer_id for one in agreeing] + [reviewer]
        stale = (approvals.c.decision_id == row.decision_id, approvals.c.reviewer.not_in(keep))
        write.connection.execute(delete(approvals).where(*stale))
    now = Approval(reviewer_id=reviewer, at=write.now, action_digest=version.digest, message=message)
    return [*agreeing, now]


def withdraw(write: Write, reviewer: str) -> list[str]:
    """Drop a reviewer's approvals of requests that still wait; gives the ids of those requests."""
    pending = select(decisions.c.decision_id).where(decisions.c.status == Status.PENDING_REVIEW.value)
    mine = (approvals.c.reviewer == reviewer, approvals.c.decision_id.in_(pending))
    found = list(write.connection.execute(select(approvals.c.decision_id).where(*mine)).scalars())
    if found:
        write.connection.execute(delete(approvals).where(*mine))
    return found


def forget(write: Write, decision_id: str) -> list[str]:
    """Drop the approvals of a request that the agent changes; gives the names of those who had approved."""
    mine = approvals.c.decision_id == decision_id
    names = list(write.connection.execute(select(approvals.c.reviewer).where(mine)).scalars())
    if names:
        write.connection.execute(delete(approvals).where(mine))
    return names
