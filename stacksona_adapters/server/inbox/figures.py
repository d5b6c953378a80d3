"""Charts of what was asked for: how requests ended, how long they waited, which agents and tools they came from."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from stacksona_adapters.server.inbox import charts, words
from stacksona_adapters.server.inbox.charts import Place, Row, Series
from stacksona_adapters.server.inbox.text import lasting, plain
from stacksona_adapters.server.inbox.web import Site, Visit, page
from stacksona_adapters.server.service import history
from stacksona_adapters.server.service.history import Asked, Ending, Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from stacksona_adapters.server.service.history import Bucket, History, Shares

_HATCHED = {Ending.ALLOWED: "hatch-allowed", Ending.FORBIDDEN: "hatch-forbidden"}
_BETWEEN_NAMES = {Span.DAY: 3, Span.WEEK: 1, Span.MONTH: 5, Span.QUARTER: 15}


def routes(site: Site) -> list[BaseRoute]:
    """The page of this module."""
    return [page(site, "/inbox/figures", _figures)]


async def _figures(visit: Visit) -> Response:
    asked = asked_by(visit.request.query_params)
    found = await visit.read(lambda read: history.history(read, asked))
    values = {"found": found, "asked": asked, "drawn": drawn(found, asked), "Ending": Ending, "hatched": _HATCHED}
    template = "_figures.html" if visit.partial else "figures.html"
    return await visit.render_apart(template, section="figures", **values, when=_when(asked.span), lasting=lasting)


def asked_by(query: Mapping[str, str]) -> Asked:
    """What an address asks for; what it cannot mean is left out."""
    span = next((each for each in Span if each.value == query.get("span", "")), Span.WEEK)
    agent, tool = (query.get(name, "").replace("\0", "")[:200] for name in ("agent", "tool"))
    return Asked(span, agent, tool)


def drawn(found: History, asked: Asked) -> dict[str, Markup | None]:
    """The charts of a history; `None` where there is nothing to draw."""
    places = _places(found.buckets, asked.span)
    made: dict[str, Markup | None] = dict.fromkeys(("requests", "waits", "agents", "tools"))
    if found.many:
        series = [
            Series(f"part {each.value}", [bucket.endings[each] for bucket in found.buckets], _HATCHED.get(each, ""))
            for each in words.ENDINGS
        ]
        made["requests"] = charts.stacked(f"Bars: requests {_per(asked.span)}, by how they ended.", places, series)
        made["agents"] = _bars("agent", found.agents)
        made["tools"] = _bars("tool", found.tools)
    if found.waits.many:
        about = f"Lines: the median and the 95th percentile of waiting times {_per(asked.span)}."
        told = [Place(_waited(bucket, asked.span), place.name, place.spare) for bucket, place in _both(found, places)]
        p95 = Series("curve p95", [bucket.waits.p95 for bucket in found.buckets])
        median = Series("curve median", [bucket.waits.median for bucket in found.buckets])
        made["waits"] = charts.lines(about, told, [p95, median])
    return made


def _both(found: History, places: list[Place]) -> list[tuple[Bucket, Place]]:
    return list(zip(found.buckets, places, strict=True))


def _per(span: Span) -> str:
    return "per hour" if span is Span.DAY else "per day"


def _when(span: Span) -> Any:
    """How a bucket's beginning is written."""

    def written(start: datetime) -> str:
        return start.strftime("%a %d %b %H:%M" if span is Span.DAY else "%a %d %b %Y")

    return written


def _places(buckets: list[Bucket], span: Span) -> list[Place]:
    step, last, when = _BETWEEN_NAMES[span], len(buckets) - 1, _when(span)
    places = []
    for at, bucket in enumerate(buckets):
        counted = [(name, bucket.endings[ending]) for ending, name in words.ENDINGS.items()]
        parts = [f"{name}: {many:,}" for name, many in counted if many]
        title = "\n".join([f"{when(bucket.start)}: {bucket.many:,} request{'' if bucket.many == 1 else 's'}", *parts])
        named = (last - at) % step == 0
        short = bucket.start.strftime("%H:%M" if span is Span.DAY else "%a %d" if span is Span.WEEK else "%d %b")
        places.append(Place(title, short if named else "", spare=(last - at) // step % 2 == 1))
    return places


def _waited(bucket: Bucket, span: Span) -> str:
    start, waits = _when(span)(bucket.start), bucket.waits
    if waits.median is None or waits.p95 is None:
        return f"{start}: nobody decided anything"
    return f"{start}: {waits.many:,} decided\nMedian: {lasting(waits.median)}\n95th percentile: {lasting(waits.p95)}"


def _bars(what: str, shares: Shares) -> Markup:
    rows = [
        Row(
            name=f"{shares.names - len(shares.parts) + 1:,} others" if part.name is None else plain(part.name),
            first=part.requests,
            first_text=f"{part.requests:,}",
            second=part.waits.median,
            second_text="none" if part.waits.median is None else lasting(part.waits.median),
        )
        for part in shares.parts
    ]
    about = f"Bars: requests and median waiting time of each {what}."
    return charts.bars(about, ("Requests", "Median wait"), rows)
