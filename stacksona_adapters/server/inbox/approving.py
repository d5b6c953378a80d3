"""Requests that several people must approve: what each has approved, and what the buttons then do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stacksona_adapters.server.inbox import diffs
from stacksona_adapters.server.service import approvals, reviews
from stacksona_adapters.server.service.errors import Conflict

if TYPE_CHECKING:
    from stacksona_adapters.protocol.decisions import Decision
    from stacksona_adapters.protocol.reviews import Approval, ReviewDetail
    from stacksona_adapters.server.inbox.diffs import Changed
    from stacksona_adapters.server.service.context import Write


@dataclass(frozen=True)
class Given:
    """An approval, and what it changes."""

    approval: Approval
    changed: list[Changed]


@dataclass(frozen=True)
class Standing:
    """How far a request is.

    Attributes:
        given: The approvals, oldest first.
        needed: How many are needed.
        agreed: How many others have approved the version that Approve is about.
        digest: That version's digest.
        arguments: Its arguments, where somebody has changed them.
        by: Who has changed them.
        waits: Whether this reviewer has approved that version, and others are needed.
        plain: How many others have approved the agent's own version.
    """

    given: list[Given]
    needed: int
    agreed: int
    digest: str
    arguments: dict[str, Any] | None
    by: str
    waits: bool
    plain: int

    def count(self, others: int) -> str:
        """What a button adds to its name: `(1 of 2)`."""
        return f" ({min(others + 1, self.needed)} of {self.needed})" if self.needed > 1 else ""

    def agreeing(self, arguments: dict[str, Any] | None, me: str) -> int:
        """How many others have approved with these arguments."""
        others = (one.approval for one in self.given if one.approval.counts and one.approval.reviewer_id != me)
        return sum(1 for one in others if one.arguments == arguments)


def standing(review: ReviewDetail, me: str) -> Standing:
    """How far a request is, for a reviewer who looks at it."""
    lead = approvals.leading(review.approvals)
    first = lead[0] if lead else None
    changed = first is not None and first.action_digest != review.action_digest
    plain = [one for one in review.approvals if one.counts and one.action_digest == review.action_digest]
    return Standing(
        given=[Given(one, _changes(review, one)) for one in review.approvals],
        needed=review.approvals_needed,
        agreed=len([one for one in lead if one.reviewer_id != me]),
        digest=first.action_digest if first is not None else review.action_digest or "",
        arguments=first.arguments if first is not None and changed else None,
        by=first.reviewer_id if first is not None and changed else "",
        waits=any(one.reviewer_id == me for one in lead) and len(lead) < review.approvals_needed,
        plain=len([one for one in plain if one.reviewer_id != me]),
    )


def _changes(review: ReviewDetail, one: Approval) -> list[Changed]:
    return [] if one.arguments is None else diffs.changes(review.arguments, one.arguments)


def check_unchanged(write: Write, decision_id: str, seen: str) -> None:
    """Refuse to approve, unseen, what somebody else has approved with changes.

    Raises:
        Conflict: If somebody has.
    """
    lead, _ = reviews.so_far(write, decision_id)
    if lead and lead[0].action_digest != seen:
        raise Conflict(f"{lead[0].reviewer_id} has approved it with changes; open it to see them.")


def more_needed(write: Write, decision: Decision) -> str:
    """What is said after an approval that is not the last one; nothing after any other decision."""
    if decision.status.final:
        return ""
    lead, needed = reviews.so_far(write, str(decision.decision_id))
    return f"{len(lead)} of {needed} approvals: another person must approve it too"
