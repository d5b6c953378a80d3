"""What reviewers see and do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, insert, or_, select

from stacksona_adapters.protocol.decisions import Decision, Outcome, Status
from stacksona_adapters.protocol.reviews import Folder, Note, Review, ReviewDetail, ReviewPage
from stacksona_adapters.server.service import approvals, decisions, grants, permissions, policies, records
from stacksona_adapters.server.service.approvals import Version
from stacksona_adapters.server.service.edits import check_edit
from stacksona_adapters.server.service.errors import Conflict, invalid
from stacksona_adapters.server.store import tables
from stacksona_adapters.server.store.tables import agents, notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Row, Select

    from stacksona_adapters.protocol.reviews import Approval, DecideRequest
    from stacksona_adapters.server.service.context import Read, Write

_table = tables.decisions

PAGE = 50
"""How many reviews a page has when the caller does not say."""

MOST = 200
"""The most reviews on a page."""

_OLDEST_FIRST = (Folder.NEW, Folder.REVIEWING, Folder.UNKNOWN)


@dataclass(frozen=True)
class Page:
    """Which part of a listing: after which row (`next` of the page before), and how many."""

    after: str | None = None
    limit: int = PAGE


def in_folder(folder: Folder) -> ColumnElement[bool]:
    """The condition that puts a decision into a folder."""
    pending = _table.c.status == Status.PENDING_REVIEW.value
    conditions: dict[Folder, ColumnElement[bool]] = {
        Folder.NEW: and_(pending, _table.c.claimed_by.is_(None)),
        Folder.REVIEWING: and_(pending, _table.c.claimed_by.is_not(None)),
        Folder.APPROVED: _table.c.status == Status.APPROVED.value,
        Folder.REJECTED: _table.c.status == Status.REJECTED.value,
        Folder.SENT_BACK: _table.c.status == Status.REVISE.value,
        Folder.EXPIRED: or_(_table.c.status == Status.EXPIRED.value, _table.c.status == Status.CANCELLED.value),
        Folder.UNKNOWN: _table.c.outcome == Outcome.UNKNOWN.value,
    }
    return conditions[folder]


def listing(read: Read, folder: Folder | None, page: Page) -> ReviewPage:
    """A page of reviews: what waits for somebody oldest first, all else newest first.

    Raises:
        Invalid: If the page's cursor is not one of this listing's.
    """
    query = select(_table)
    if folder is not None:
        query = query.where(in_folder(folder))
    return _page(read, query, page, oldest_first=folder in _OLDEST_FIRST)


def granted(read: Read, grant_id: str, page: Page) -> ReviewPage:
    """A page of the requests that a grant has allowed, newest first."""
    return _page(read, select(_table).where(_table.c.grant_id == grant_id), page, oldest_first=False)


def _page(read: Read, query: Select[Any], page: Page, *, oldest_first: bool) -> ReviewPage:
    rows = read.connection.execute(_cut(query, page, oldest_first=oldest_first)).all()
    more = len(rows) > page.limit
    shown = rows[: page.limit]
    return ReviewPage(reviews=entries(read, shown), next=str(shown[-1].number) if more else None)


def _cut(query: Select[Any], page: Page, *, oldest_first: bool) -> Select[Any]:
    number = _table.c.number
    if page.after is not None:
        if not page.after.isascii() or not page.after.isdigit() or len(page.after) > 18:
            raise invalid("/cursor", "is not the `next` of an earlier page")
        query = query.where(number > int(page.after) if oldest_first else number < int(page.after))
    return query.order_by(number if oldest_first else number.desc()).limit(page.limit + 1)


def _review_fields(row: Row[Any]) -> dict[str, Any]:
    asked = decisions.read_request(row)
    return {
        "decision_id": row.decision_id,
        "thread_id": row.thread_id,
        "task_id": row.task_id,
        "agent": row.label,
        "action": row.action,
        "subject": asked.subject,
        "risk": asked.risk,
        "risk_reason": asked.risk_reason,
        "summary": asked.summary,
        "arguments": asked.arguments,
        "redacted": asked.redacted,
        "status": row.status,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "decided_at": row.decided_at,
        "reviewer_id": row.reviewer_id,
        "message": row.message,
        "claimed_by": row.claimed_by,
        "consumed_at": row.consumed_at,
        "outcome": row.outcome,
        "action_digest": row.action_digest,
    }


def entries(read: Read, rows: Sequence[Row[Any]]) -> list[Review]:
    """Rows as entries of the list."""
    known = approvals.progress(read, rows)
    found = []
    for row in rows:
        has, needs = known.get(row.decision_id, (0, 1))
        found.append(Review(**_review_fields(row), approvals_given=has, approvals_needed=needs))
    return found


def detail(read: Read, decision_id: str, reviewer: str | None = None) -> ReviewDetail:
    """A request with all that a reviewer may want to see.

    Args:
        read: The transaction.
        decision_id: Which one.
        reviewer: Who looks; it then says whether they may decide.

    Raises:
        NotFound: If there is no such decision.
    """
    row = decisions.get(read, decision_id)
    asked = decisions.read_request(row)
    query = select(notes).where(notes.c.decision_id == row.decision_id).order_by(notes.c.number)
    said = [Note(at=n.at, reviewer_id=n.reviewer_id, text=n.text) for n in read.connection.execute(query)]
    return ReviewDetail(
        **_review_fields(row),
        **_deciding(read, row, reviewer),
        context=asked.context,
        preview=asked.preview,
        timeline=records.timeline(read, row.agent, row.task_id),
        notes=said,
        revises=asked.revises,
        rule=json.loads(row.rule) if row.rule is not None else None,
        edited_arguments=json.loads(row.edited_arguments) if row.edited_arguments is not None else None,
        arguments_schema=asked.arguments_schema,
        audit_hash=row.audit_hash,
    )


def _deciding(read: Read, row: Row[Any], reviewer: str | None) -> dict[str, Any]:
    """Who has approved, how many must, and whether this reviewer may."""
    pending = row.status == Status.PENDING_REVIEW.value
    (needs,) = policies.of_rows(read, [row])
    listed = approvals.given(read, row, needs)
    told: dict[str, Any] = {"approvals": listed, "approvals_given": len(approvals.leading(listed))}
    approved = row.status == Status.APPROVED.value
    told["approvals_needed"] = max(1, len(listed)) if approved else needs.approvals
    if pending:
        able = policies.people(read).able(row.agent, needs)
        told["stuck"] = policies.too_few(needs.approvals, able) if len(able) < needs.approvals else None
    if reviewer is not None and (pending or row.outcome == Outcome.UNKNOWN.value):
        told["why_not"] = policies.why_not(read, row, reviewer, needs)
        told["may_decide"] = told["why_not"] is None
    return told


def so_far(read: Read, decision_id: str) -> tuple[list[Approval], int]:
    """The approvals that count for the version that most have approved, and how many a request needs.

    Raises:
        NotFound: If there is no such decision.
    """
    row = decisions.get(read, decision_id)
    (needs,) = policies.of_rows(read, [row])
    return approvals.leading(approvals.given(read, row, needs)), needs.approvals


_STATUS = {"approve": Status.APPROVED, "reject": Status.REJECTED, "revise": Status.REVISE}


def check(read: Read, decision_id: str, asked: DecideRequest) -> str:
    """All of a reviewer's decision that takes time: the edited arguments against the tool's schema.

    Returns:
        The digest of the version that was checked, for `decide`.

    Raises:
        NotFound: If there is no such decision.
        Invalid: If the edited arguments do not fit.
    """
    row = decisions.get(read, decision_id)
    if asked.grant is not None and asked.outcome != "approve":
        raise invalid("/grant", "can be made only with outcome approve")
    if asked.arguments is None:
        return asked.action_digest or row.action_digest
    if asked.outcome != "approve":
        raise invalid("/arguments", "can be changed only with outcome approve")
    if row.status == Status.PENDING_REVIEW.value:
        records.canonical(asked.arguments)
        check_edit(decisions.read_request(row), asked.arguments)
    return asked.action_digest or row.action_digest


def decide(write: Write, reviewer: str, decision_id: str, asked: DecideRequest, seen: str) -> Decision:
    """A reviewer decides; the first one wins. Where several must approve, it is pending until the last of them has.

    Args:
        write: The transaction.
        reviewer: Who decides.
        decision_id: The decision.
        asked: The outcome.
        seen: The digest of the version that the reviewer saw (`check`).

    Raises:
        NotFound: If there is no such decision.
        NotPermitted: If somebody else must decide on it.
        Conflict: If it was decided before, its time is over, it was changed since, or the reviewer approved it before.
        Invalid: If the grant that it comes with cannot be made.
    """
    row = decisions.get(write, decision_id)
    needs = policies.check_may_decide(write, row, reviewer)
    version = _decidable(write, row, asked, seen)
    if asked.grant is not None:
        grants.check_needs(needs)
    said: dict[str, Any] = {"by": reviewer, "message": asked.message, "arguments": version.arguments}
    message = asked.message
    if asked.outcome == "approve" and needs.approvals > 1:
        agreed = approvals.give(write, row, needs, reviewer, version, asked.message)
        if len(agreed) < needs.approvals:
            so_far = {"approved_digest": version.digest, "approvals": len(agreed), "approvals_needed": needs.approvals}
            return _answer(write, decisions.change(write, row, "decision.approval", {}, {**said, **so_far}))
        said["approvers"] = [one.reviewer_id for one in agreed]
        message = "\n\n".join(one.message for one in agreed if one.message) or None
    elif asked.outcome == "approve":
        approvals.forget(write, row.decision_id)
    status = _STATUS[asked.outcome]
    values: dict[str, Any] = {"status": status.value, "reviewer_id": reviewer, "decided_at": write.now}
    values["message"] = message
    if version.arguments is not None:
        values |= {"edited_arguments": json.dumps(version.arguments), "action_digest": version.digest}
    if status is Status.APPROVED and _signs(write, row.agent):
        values |= permissions.signed(write, row.decision_id, version.digest, row.expires_at)
    decided = decisions.change(write, row, f"decision.{status.value}", values, said)
    if asked.grant is not None:
        approved = decisions.read_request(row).arguments if version.arguments is None else version.arguments
        grants.make(write, row, reviewer, asked.grant, approved)
    return _answer(write, decided)


def _answer(write: Write, row: Row[Any]) -> Decision:
    return decisions.answer(write, row, token=False)


def _decidable(write: Write, row: Row[Any], asked: DecideRequest, seen: str) -> Version:
    """What is decided on: the agent's version, an edit of it, or an edit that somebody else has approved."""
    if row.status != Status.PENDING_REVIEW.value:
        by = f" by {row.reviewer_id}" if row.reviewer_id else ""
        raise Conflict(f"It was decided before: {row.status}{by}.", **decisions.standing(row))
    if decisions.overdue(row, write.now):
        raise Conflict("Its time is over.", **{**decisions.standing(row), "decision_status": Status.EXPIRED.value})
    if seen == row.action_digest:
        if asked.arguments is None:
            return Version(row.action_digest)
        return Version(decisions.digest_of(decisions.read_request(row), asked.arguments), asked.arguments)
    approved = approvals.version_of(write, row.decision_id, seen)
    if approved is None or asked.outcome != "approve" or asked.arguments is not None:
        raise Conflict("The agent changed the request since you saw it; look at it again.", **decisions.standing(row))
    return approved


def told(read: Read, decision: Decision) -> dict[str, Any]:
    """What `decide` answers besides the decision, where several must approve."""
    row = decisions.get(read, str(decision.decision_id))
    shown = _deciding(read, row, None)
    if not shown["approvals"]:
        return {}
    listed = [one.model_dump(mode="json", include={"reviewer_id", "at", "action_digest"}) for one in shown["approvals"]]
    return {"approvals": listed, "approvals_needed": shown["approvals_needed"]}


def _signs(read: Read, agent: str) -> bool:
    return bool(read.connection.execute(select(agents.c.signed_approval).where(agents.c.name == agent)).scalar())


def add_note(write: Write, reviewer: str, decision_id: str, text: str) -> Note:
    """Save a note on a request."""
    row = decisions.get(write, decision_id)
    values = {"decision_id": row.decision_id, "at": write.now, "reviewer_id": reviewer, "text": text}
    write.connection.execute(insert(notes), values)
    said = {"decision_id": row.decision_id, "by": reviewer, "text": text}
    records.append(write, row.agent, row.task_id, "review.noted", said)
    return Note(at=write.now, reviewer_id=reviewer, text=text)


def claim(write: Write, reviewer: str, decision_id: str, *, release: bool = False) -> Review:
    """Say that somebody looks at a request, or does no longer. It keeps nobody from deciding.

    Raises:
        NotFound: If there is no such decision.
        Conflict: If it was decided before, or somebody else looks at it.
    """
    row = decisions.get(write, decision_id)
    if row.status != Status.PENDING_REVIEW.value:
        raise Conflict(f"It was decided before: {row.status}.", **decisions.standing(row))
    if row.claimed_by not in (None, reviewer) and not release:
        raise Conflict(f"{row.claimed_by} reviews it.", claimed_by=row.claimed_by)
    holder = None if release else reviewer
    if row.claimed_by == holder:
        return entries(write, [row])[0]
    kind = "review.released" if release else "review.claimed"
    return entries(write, [decisions.change(write, row, kind, {"claimed_by": holder}, {"by": reviewer})])[0]
