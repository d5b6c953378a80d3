"""What things are called on the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stacksona_adapters.protocol.decisions import Outcome, Status
from stacksona_adapters.protocol.reviews import Folder
from stacksona_adapters.server.service.history import Ending, Span
from stacksona_adapters.server.service.search import Age, Order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stacksona_adapters.protocol.reviews import Review, ReviewDetail

FOLDERS = {
    Folder.NEW: "New",
    Folder.REVIEWING: "Reviewing",
    Folder.APPROVED: "Approved",
    Folder.REJECTED: "Rejected",
    Folder.SENT_BACK: "Sent back",
    Folder.EXPIRED: "Expired",
    Folder.UNKNOWN: "Outcome unknown",
}
EMPTY = {
    Folder.NEW: "Nothing waits for you. New requests appear here by themselves.",
    Folder.REVIEWING: "Nobody has claimed a request.",
    Folder.APPROVED: "No request has been approved by a person yet.",
    Folder.REJECTED: "No request has been rejected by a person yet.",
    Folder.SENT_BACK: "No request has been sent back.",
    Folder.EXPIRED: "No request has expired or been withdrawn.",
    Folder.UNKNOWN: "Every action that was started has said how it ended.",
}
AGES = {
    Age.HOUR: "last hour",
    Age.DAY: "last 24 hours",
    Age.WEEK: "last 7 days",
    Age.OVER_HOUR: "older than an hour",
    Age.OVER_DAY: "older than a day",
}
ORDERS = {Order.RISK: "Highest risk", Order.OLDEST: "Oldest", Order.NEWEST: "Newest"}
SPANS = {
    Span.DAY: "last 24 hours",
    Span.WEEK: "last 7 days",
    Span.MONTH: "last 30 days",
    Span.QUARTER: "last 90 days",
}
ENDINGS = {
    Ending.ALLOWED: "Allowed by a rule or grant",
    Ending.APPROVED: "Approved",
    Ending.SENT_BACK: "Sent back",
    Ending.REJECTED: "Rejected",
    Ending.FORBIDDEN: "Forbidden by a rule",
    Ending.LAPSED: "Expired or withdrawn",
    Ending.WAITING: "Waiting",
}
STATUSES = {
    Status.ALLOW: "Allowed",
    Status.REJECT: "Forbidden by a rule",
    Status.PENDING_REVIEW: "Waits for review",
    Status.APPROVED: "Approved",
    Status.REJECTED: "Rejected",
    Status.REVISE: "Sent back",
    Status.EXPIRED: "Expired",
    Status.CANCELLED: "Withdrawn",
}
KINDS = {
    "task.created": "Task created",
    "decision.requested": "Request made",
    "decision.approval": "Approved by one of several",
    "decision.approved": "Approved",
    "decision.rejected": "Rejected",
    "decision.revise": "Sent back",
    "decision.revised": "Request changed by the agent",
    "decision.expired": "Expired",
    "grant.made": "Grant made: similar requests run",
    "decision.cancelled": "Withdrawn by the agent",
    "permission.taken": "Permission taken: the action starts",
    "permission.closed": "Outcome reported",
    "permission.settled": "Outcome settled",
    "review.claimed": "Claimed",
    "review.released": "Released",
    "review.noted": "Note",
    "review.exported": "Exported",
}
DECIDERS = {"role:reviewer": "everybody with the role reviewer", "role:admin": "every admin"}
LASTS = {"3600": "an hour", "28800": "8 hours", "86400": "24 hours", "604800": "7 days", "2592000": "30 days"}
"""How long a grant can hold, in seconds, as its form offers it."""

_TYPES = {"upper_limit": "is above", "lower_limit": "is below", "between": "lies between", "contains": "contains"}


_OF_STATUS = {
    Status.ALLOW: Folder.APPROVED,
    Status.APPROVED: Folder.APPROVED,
    Status.REJECT: Folder.REJECTED,
    Status.REJECTED: Folder.REJECTED,
    Status.REVISE: Folder.SENT_BACK,
    Status.EXPIRED: Folder.EXPIRED,
    Status.CANCELLED: Folder.EXPIRED,
}


def folder_of(review: Review) -> Folder:
    """The folder to which a request leads back."""
    if review.outcome is Outcome.UNKNOWN:
        return Folder.UNKNOWN
    if review.status is Status.PENDING_REVIEW:
        return Folder.NEW if review.claimed_by is None else Folder.REVIEWING
    return _OF_STATUS[review.status]


def version(review: ReviewDetail) -> str:
    """What a page shows of a request's state, for the question whether it has changed since; approvals come last."""
    given = "+".join(str(round(one.at.timestamp() * 1_000_000)) for one in review.approvals)
    parts = (review.status.value, review.claimed_by or "", review.outcome or "", review.action_digest or "", given)
    return ".".join(map(str, parts))


def decider(entry: str) -> str:
    """An entry of a policy's deciders: a reviewer's name, or everybody with a role."""
    return DECIDERS.get(entry, entry)


def by_grant(review: ReviewDetail) -> bool:
    """Whether a reviewer's grant allowed a request."""
    return review.rule is not None and review.rule.get("type") == "grant"


def status(review: ReviewDetail) -> str:
    """A request's status, and by what it was allowed."""
    if review.status is Status.ALLOW:
        return "Allowed by a grant" if by_grant(review) else "Allowed by a rule"
    return STATUSES[review.status]


def kind(name: str) -> str:
    """A record's kind in words."""
    return KINDS.get(name) or name.replace("_", " ").replace(".", " ").capitalize()


def rule(found: Mapping[str, Any]) -> str:
    """A rule in words: `if amount is above 100`."""
    kind = str(found.get("type"))
    value = str(found.get("value"))
    if kind == "between":
        value = f"{value} and {found.get('value2')}"
    return f"{found.get('parameter')} {_TYPES.get(kind, 'matches the pattern')} {value}"


def details(said: Mapping[str, Any], within: str = "") -> list[tuple[str, str]]:
    """What an entry of the gate's own chain says, as names and texts; what is not given is left out."""
    found: list[tuple[str, str]] = []
    for name, value in said.items():
        if isinstance(value, dict):
            found += details(value, "" if name in ("rule", "policy") else name)
        elif isinstance(value, list):
            found += [(f"{within} {name}".strip(), ", ".join(map(str, value)))] if value else []
        elif value is not None:
            found.append((f"{within} {name}".strip().replace("_", " "), str(value)))
    return found
