"""Finding requests: by folder, text, agent, tool, risk and age; in the order that a reviewer wants."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, or_, select

from stacksona_adapters.protocol.decisions import Outcome, Status
from stacksona_adapters.protocol.requests import Risk
from stacksona_adapters.protocol.reviews import Folder, Review
from stacksona_adapters.server.service import reviews
from stacksona_adapters.server.store.tables import decisions

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, UnaryExpression

    from stacksona_adapters.server.service.context import Read

PAGE = 50
"""How many requests a page shows."""

_MOST_CHOICES = 200
_RANK = {Risk.CRITICAL: 0, Risk.HIGH: 1, Risk.MEDIUM: 2, Risk.LOW: 3}


class Age(str, Enum):
    """How long ago a request was made."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    OVER_HOUR = "over_hour"
    OVER_DAY = "over_day"


_AGES = {
    Age.HOUR: timedelta(hours=1),
    Age.DAY: timedelta(days=1),
    Age.WEEK: timedelta(days=7),
    Age.OVER_HOUR: timedelta(hours=1),
    Age.OVER_DAY: timedelta(days=1),
}
_OLDER = (Age.OVER_HOUR, Age.OVER_DAY)


class Order(str, Enum):
    """What comes first."""

    RISK = "risk"
    OLDEST = "oldest"
    NEWEST = "newest"


@dataclass(frozen=True)
class Search:
    """What a reviewer looks for.

    Attributes:
        folder: The folder.
        text: Stands in the request, its agent, tool, ids or message; upper and lower case are the same.
        agent: The agent's name, as its requests say it.
        tool: The action's name.
        risk: The risk.
        age: How long ago.
        order: What comes first.
        page: Which page, from 1.
    """

    folder: Folder = Folder.NEW
    text: str = ""
    agent: str = ""
    tool: str = ""
    risk: Risk | None = None
    age: Age | None = None
    order: Order = Order.RISK
    page: int = 1


@dataclass(frozen=True)
class Found:
    """One page of what was found."""

    reviews: list[Review]
    more: bool


def search(read: Read, wanted: Search) -> Found:
    """A page of requests."""
    query = select(decisions).where(reviews.in_folder(wanted.folder), *_conditions(read, wanted))
    query = query.order_by(*_order(wanted)).limit(PAGE + 1).offset((wanted.page - 1) * PAGE)
    rows = read.connection.execute(query).all()
    return Found(reviews.entries(read, rows[:PAGE]), len(rows) > PAGE)


def _conditions(read: Read, wanted: Search) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.agent:
        conditions.append(decisions.c.label == wanted.agent)
    if wanted.tool:
        conditions.append(decisions.c.action == wanted.tool)
    if wanted.risk is not None:
        conditions.append(decisions.c.risk == wanted.risk.value)
    if wanted.age is not None:
        edge = read.now - _AGES[wanted.age]
        made = decisions.c.created_at
        conditions.append(made < edge if wanted.age in _OLDER else made >= edge)
    if wanted.text:
        conditions.append(_says(wanted.text))
    return conditions


def _says(text: str) -> ColumnElement[bool]:
    columns: list[Any] = [decisions.c.label, decisions.c.action, decisions.c.decision_id, decisions.c.thread_id]
    columns += [decisions.c.task_id, decisions.c.message, decisions.c.reviewer_id]
    as_json = json.dumps(text, ensure_ascii=False)[1:-1]  # the request is kept as JSON text
    found = [column.icontains(text, autoescape=True) for column in columns]
    return or_(*found, decisions.c.request.icontains(as_json, autoescape=True))


def _order(wanted: Search) -> list[ColumnElement[Any] | UnaryExpression[Any]]:
    number = decisions.c.number
    if wanted.order is Order.NEWEST:
        return [number.desc()]
    if wanted.order is Order.OLDEST:
        return [number]
    rank = case({risk.value: place for risk, place in _RANK.items()}, value=decisions.c.risk, else_=len(_RANK))
    waits = wanted.folder in (Folder.NEW, Folder.REVIEWING, Folder.UNKNOWN)
    return [rank, number if waits else number.desc()]


def counts(read: Read) -> dict[Folder, int]:
    """How many requests each folder has."""
    claimed = case((decisions.c.claimed_by.is_(None), 0), else_=1)
    query = select(decisions.c.status, claimed, func.count()).group_by(decisions.c.status, claimed)
    by: dict[tuple[str, int], int] = {(status, held): n for status, held, n in read.connection.execute(query)}
    unknown = select(func.count()).where(decisions.c.outcome == Outcome.UNKNOWN.value)

    def of(*statuses: Status) -> int:
        return sum(by.get((status.value, held), 0) for status in statuses for held in (0, 1))

    return {
        Folder.NEW: by.get((Status.PENDING_REVIEW.value, 0), 0),
        Folder.REVIEWING: by.get((Status.PENDING_REVIEW.value, 1), 0),
        Folder.APPROVED: of(Status.APPROVED),
        Folder.REJECTED: of(Status.REJECTED),
        Folder.SENT_BACK: of(Status.REVISE),
        Folder.EXPIRED: of(Status.EXPIRED, Status.CANCELLED),
        Folder.UNKNOWN: read.connection.execute(unknown).scalar_one(),
    }


def choices(read: Read, folder: Folder) -> tuple[list[str], list[str]]:
    """The agents and the tools of a folder's requests, for the filters."""

    def of(column: Any) -> list[str]:
        query = select(column).where(reviews.in_folder(folder)).distinct().order_by(column).limit(_MOST_CHOICES)
        return list(read.connection.execute(query).scalars())

    return of(decisions.c.label), of(decisions.c.action)


def earlier(read: Read, decision_id: str, most: int = 10) -> list[str]:
    """The ids of the decisions that a request revises, the newest first; only those of the same agent."""
    found: list[str] = []
    here = _revises(read, decision_id)
    while here is not None and here not in (*found, decision_id) and len(found) < most:
        found.append(here)
        here = _revises(read, here)
    return found


def _revises(read: Read, decision_id: str) -> str | None:
    columns = (decisions.c.request, decisions.c.agent)
    row = read.connection.execute(select(*columns).where(decisions.c.decision_id == decision_id)).one_or_none()
    revised = json.loads(row.request).get("revises") if row is not None else None
    if row is None or not isinstance(revised, str):
        return None
    mine = (decisions.c.decision_id == revised, decisions.c.agent == row.agent)
    found: str | None = read.connection.execute(select(decisions.c.decision_id).where(*mine)).scalar()
    return found
