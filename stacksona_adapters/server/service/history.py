"""What was asked for and how it ended, over time: the figures behind the inbox's charts.

Counts and quantiles are made by the database, one number for each bucket, so that a page costs the same for ten
requests and for a hundred thousand. A bucket is an hour or a day in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, case, func, literal, select, type_coerce

from stacksona_adapters.protocol.decisions import Status
from stacksona_adapters.server.store.tables import decisions

if TYPE_CHECKING:
    from sqlalchemy import Column, ColumnElement

    from stacksona_adapters.server.service.context import Read

MOST_NAMES = 10
"""How many agents or tools are named; the others are one sum."""

MOST_WAITS = 50_000
"""So many waiting times are counted exactly; of more, every second, third ... one is."""

_MOST_CHOICES = 200
_SECOND = 1_000_000
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Span(str, Enum):
    """How far back."""

    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"
    QUARTER = "90d"


_BUCKETS = {
    Span.DAY: (timedelta(hours=1), 24),
    Span.WEEK: (timedelta(days=1), 7),
    Span.MONTH: (timedelta(days=1), 30),
    Span.QUARTER: (timedelta(days=1), 90),
}


class Ending(str, Enum):
    """How a request ended, as far as it has."""

    ALLOWED = "allowed"
    FORBIDDEN = "forbidden"
    APPROVED = "approved"
    REJECTED = "rejected"
    SENT_BACK = "sent_back"
    LAPSED = "lapsed"
    WAITING = "waiting"


_ENDINGS = {
    Status.ALLOW: Ending.ALLOWED,
    Status.REJECT: Ending.FORBIDDEN,
    Status.APPROVED: Ending.APPROVED,
    Status.REJECTED: Ending.REJECTED,
    Status.REVISE: Ending.SENT_BACK,
    Status.EXPIRED: Ending.LAPSED,
    Status.CANCELLED: Ending.LAPSED,
    Status.PENDING_REVIEW: Ending.WAITING,
}


@dataclass(frozen=True)
class Asked:
    """Which requests are looked at.

    Attributes:
        span: How far back.
        agent: Only this agent's, by the name that its requests say; everybody's where it is empty.
        tool: Only this action.
    """

    span: Span = Span.WEEK
    agent: str = ""
    tool: str = ""


@dataclass(frozen=True)
class Waits:
    """How long people let requests wait.

    Attributes:
        many: How many requests people decided.
        median: Seconds that half of them waited at most; `None` where there is none.
        p95: Seconds that 95 of 100 waited at most.
    """

    many: int = 0
    median: float | None = None
    p95: float | None = None


@dataclass(frozen=True)
class Bucket:
    """An hour or a day.

    Attributes:
        start: Its first moment, in UTC.
        endings: How many requests were made in it, by how they have ended since.
        waits: Of the requests that people decided in it.
    """

    start: datetime
    endings: dict[Ending, int]
    waits: Waits

    @property
    def many(self) -> int:
        """How many requests were made in it."""
        return sum(self.endings.values())


@dataclass(frozen=True)
class Share:
    """An agent's or a tool's part.

    Attributes:
        name: Its name; `None` for all that are not named.
        requests: How many requests were made.
        waits: Of those that people decided.
    """

    name: str | None
    requests: int
    waits: Waits


@dataclass(frozen=True)
class Shares:
    """The parts of the agents or of the tools, the largest first.

    Attributes:
        parts: At most `MOST_NAMES`, and one for the rest.
        names: How many names there are in all.
    """

    parts: list[Share]
    names: int


@dataclass(frozen=True)
class History:
    """What happened in a span of time.

    Attributes:
        buckets: Every hour or day of the span, the empty ones too; the last one is not over.
        waits: Of everything that people decided in it.
        agents: By agent.
        tools: By action.
        every: A waiting time of how many was counted: 1, unless there are more than `MOST_WAITS`.
        choices: The agents and the tools that made requests in the span, for the filters.
    """

    buckets: list[Bucket]
    waits: Waits
    agents: Shares
    tools: Shares
    every: int
    choices: tuple[list[str], list[str]] = field(default=([], []))

    @property
    def endings(self) -> dict[Ending, int]:
        """How many requests were made, by how they have ended since."""
        return {ending: sum(bucket.endings[ending] for bucket in self.buckets) for ending in Ending}

    @property
    def many(self) -> int:
        """How many requests were made."""
        return sum(bucket.many for bucket in self.buckets)


def history(read: Read, asked: Asked, *, most_waits: int = MOST_WAITS) -> History:
    """What happened in a span of time that ends now.

    Args:
        read: The transaction.
        asked: Which requests.
        most_waits: So many waiting times are counted exactly.
    """
    size, count = _BUCKETS[asked.span]
    first = (read.now - _EPOCH) // size - (count - 1)
    asking = _Asking(read, asked, _EPOCH + first * size, most_waits)
    endings, waits = asking.endings(size), asking.waits(_number_of(decisions.c.decided_at, size))
    nothing = dict.fromkeys(Ending, 0)
    return History(
        buckets=[
            Bucket(_EPOCH + number * size, nothing | endings.get(number, {}), waits.get(number, Waits()))
            for number in range(first, first + count)
        ],
        waits=asking.waits(literal(0)).get(0, Waits()),
        agents=asking.shares(decisions.c.label),
        tools=asking.shares(decisions.c.action),
        every=asking.every,
        choices=(asking.choices(decisions.c.label), asking.choices(decisions.c.action)),
    )


def waits_since(read: Read, since: datetime) -> Waits:
    """How long people let requests wait that they decided since a moment."""
    return _Asking(read, Asked(), since, MOST_WAITS).waits(literal(0)).get(0, Waits())


def _number_of(moment: Column[datetime], size: timedelta) -> ColumnElement[int]:
    """The number of the bucket that a moment is in; moments are microseconds since 1970."""
    return type_coerce(moment, BigInteger) // literal(size // _MICROSECOND, BigInteger)


class _Asking:
    """The queries of one history."""

    def __init__(self, read: Read, asked: Asked, since: datetime, most_waits: int) -> None:
        self._run = read.connection.execute
        self._since = since
        self._only: list[ColumnElement[bool]] = []
        if asked.agent:
            self._only.append(decisions.c.label == asked.agent)
        if asked.tool:
            self._only.append(decisions.c.action == asked.tool)
        self._made = [decisions.c.created_at >= since, *self._only]
        # A person's decision keeps its moment when nobody uses it in time, and loses it when it is withdrawn.
        by_person = (decisions.c.reviewer_id.is_not(None), decisions.c.status != Status.CANCELLED.value)
        self._decided = [*by_person, decisions.c.decided_at >= since, *self._only]
        many = self._run(select(func.count()).where(*self._decided)).scalar_one()
        self.every = max(1, -(-many // most_waits))

    def endings(self, size: timedelta) -> dict[int, dict[Ending, int]]:
        """How many requests each bucket has, by how they ended."""
        by_rule = case((decisions.c.reviewer_id.is_(None), 1), else_=0).label("by_rule")
        bucket = _number_of(decisions.c.created_at, size).label("bucket")
        query = select(bucket, decisions.c.status, by_rule, func.count().label("many")).where(*self._made)
        found: dict[int, dict[Ending, int]] = {}
        for row in self._run(query.group_by("bucket", decisions.c.status, "by_rule")):
            ending = _ENDINGS[Status(row.status)]
            if ending is Ending.REJECTED and row.by_rule:
                ending = Ending.FORBIDDEN  # a request that its agent changed, and a rule then refused
            of_bucket = found.setdefault(int(row.bucket), {})
            of_bucket[ending] = of_bucket.get(ending, 0) + row.many
        return found

    def waits(self, part: ColumnElement[int]) -> dict[int, Waits]:
        """How long people let requests wait, by a number that says what a request belongs to.

        A quantile is a waiting time that occurred: the smallest one that at least that part does not exceed.
        """
        wait = type_coerce(decisions.c.decided_at, BigInteger) - type_coerce(decisions.c.created_at, BigInteger)
        alike = select(part.label("part"), wait.label("wait")).where(*self._decided)
        if self.every > 1:
            alike = alike.where(decisions.c.number % self.every == 0)
        inner = alike.subquery()
        place = func.row_number().over(partition_by=inner.c.part, order_by=inner.c.wait).label("place")
        many = func.count().over(partition_by=inner.c.part).label("many")
        ranked = select(inner, place, many).subquery()
        median, p95 = (
            func.max(case((ranked.c.place == (ranked.c.many * of_100 + 99) // 100, ranked.c.wait))).label(f"p{of_100}")
            for of_100 in (50, 95)
        )
        query = select(ranked.c.part, ranked.c.many, median, p95).group_by(ranked.c.part, ranked.c.many)
        exact = self._counted(part) if self.every > 1 else {}
        return {
            int(row.part): Waits(exact.get(int(row.part), int(row.many)), row.p50 / _SECOND, row.p95 / _SECOND)
            for row in self._run(query)
        }

    def _counted(self, part: ColumnElement[int]) -> dict[int, int]:
        query = select(part.label("part"), func.count().label("many")).where(*self._decided).group_by("part")
        return {int(row.part): row.many for row in self._run(query)}

    def shares(self, name: Column[str]) -> Shares:
        """The parts of those whose requests have a name."""
        many = func.count().label("many")
        sums = (func.sum(many).over().label("whole"), func.count().over().label("names"))
        query = select(name, many, *sums).where(*self._made).group_by(name).order_by(many.desc(), name)
        rows = self._run(query.limit(MOST_NAMES)).all()
        named = [(row[0], row.many) for row in rows]
        whole, names = (int(rows[0].whole), rows[0].names) if rows else (0, 0)
        place = case({each: number for number, (each, _) in enumerate(named)}, value=name, else_=MOST_NAMES)
        waits = self.waits(place) if named else {}
        parts = [Share(each, part, waits.get(number, Waits())) for number, (each, part) in enumerate(named)]
        if names > len(named):
            rest = whole - sum(part.requests for part in parts)
            parts.append(Share(None, rest, waits.get(MOST_NAMES, Waits())))
        return Shares(parts, names)

    def choices(self, name: Column[str]) -> list[str]:
        """The names that made requests, whatever the filters are."""
        query = select(name).where(decisions.c.created_at >= self._since).distinct().order_by(name).limit(_MOST_CHOICES)
        return list(self._run(query).scalars())
