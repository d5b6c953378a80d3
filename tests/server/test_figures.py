"""The page of charts: known data gives known buckets, medians and bars, on either database."""

from __future__ import annotations

import itertools
import math
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import event

from stacksona_adapters.server import inbox
from stacksona_adapters.server.clock import ManualClock
from stacksona_adapters.server.inbox import charts
from stacksona_adapters.server.inbox.charts import Place, Row, Series
from stacksona_adapters.server.inbox.text import lasting, plain
from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.server.service.history import Asked, Ending, History, Span, Waits, history
from tests.server.conftest import World, ask, consume, decide, new_task, refund
from tests.server.inbox_tools import Inbox, text_of

if TYPE_CHECKING:
    import httpx

MINUTE, HOUR = 60.0, 3600.0
NOON = datetime(2026, 11, 19, 12, 0, tzinfo=timezone.utc)
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def clock() -> ManualClock:
    """A Thursday, noon in UTC."""
    return ManualClock(NOON)


def look(world: World, span: Span = Span.WEEK, **asked: Any) -> History:
    """The history now."""
    return world.service.read(lambda read: history(read, Asked(span, **asked)))


def of(found: History, start: datetime) -> dict[Ending, int]:
    """How the requests of a bucket ended, without what did not happen."""
    bucket = next(each for each in found.buckets if each.start == start)
    return {ending: many for ending, many in bucket.endings.items() if many}


def wait_and_decide(world: World, client: httpx.Client, reviewer: httpx.Client, seconds: float, **asked: Any) -> None:
    """Ask, and decide after so many seconds."""
    decision = client.post("/v1/gate/decision", json=refund(new_task(client), **asked)).json()
    world.advance(seconds=seconds)
    decide(reviewer, decision)


def test_every_ending(world: World) -> None:
    """Requests are counted on the day that they were made, by how they have ended since."""
    agent, reviewer = world.agent(), world.reviewer()
    for outcome, limit in (("allow", 10), ("reject", 1000)):
        kind = "lower_limit" if outcome == "allow" else "upper_limit"
        world.service.add_rule(tool="issue_refund", parameter="amount", type=kind, value=limit, outcome=outcome)
    for amount in (1, 2, 3, 2000):
        ask(agent, amount)
    decide(reviewer, ask(agent))
    decide(reviewer, ask(agent), "reject", message="no")
    decide(reviewer, ask(agent), "revise", message="less")
    ask(agent, expires_in=60)
    agent.post(f"/v1/gate/decision/{ask(agent)['decision_id']}/cancel").raise_for_status()
    ask(agent)
    world.advance(days=1)
    world.service.expire_due()
    ask(agent, 5)

    found = look(world)

    assert of(found, datetime(2026, 11, 19, tzinfo=timezone.utc)) == {
        Ending.ALLOWED: 3,
        Ending.FORBIDDEN: 1,
        Ending.APPROVED: 1,
        Ending.REJECTED: 1,
        Ending.SENT_BACK: 1,
        Ending.LAPSED: 2,
        Ending.WAITING: 1,
    }
    assert of(found, datetime(2026, 11, 20, tzinfo=timezone.utc)) == {Ending.ALLOWED: 1}
    assert (found.many, found.waits.many) == (11, 3)
    assert len(found.buckets) == 7
    assert found.buckets[-1].start == datetime(2026, 11, 20, tzinfo=timezone.utc)


def test_a_revision_that_a_rule_refuses(world: World) -> None:
    """A request that its agent made worse was refused by a rule, not by a person."""
    agent = world.agent()
    task = "task_1"
    sent = agent.post(f"/api/agent/tasks/{task}/requests", json={"tool_name": "pay", "payload": {"amount": 5}}).json()
    world.service.add_rule(tool="pay", parameter="amount", type="upper_limit", value=10, outcome="reject")
    revision = {"event_type": "revision", "thread_id": sent["thread_id"], "payload": {"payload": {"amount": 50}}}
    agent.post(f"/api/agent/tasks/{task}/events", json=revision).raise_for_status()

    found = look(world)

    assert {ending: many for ending, many in found.endings.items() if many} == {Ending.FORBIDDEN: 1}
    assert found.waits == Waits()


@pytest.mark.parametrize(("span", "size", "many"), [(Span.DAY, 1, 24), (Span.MONTH, 24, 30), (Span.QUARTER, 24, 90)])
def test_edges(world: World, span: Span, size: int, many: int) -> None:
    """The last microsecond of a bucket and the first of the next are apart; what lies before the span is left out."""
    agent, length = world.agent(), timedelta(hours=size)
    first = datetime(2026, 11, 19 + (size == 24), 0, tzinfo=timezone.utc)
    first = first if size == 24 else NOON + timedelta(hours=1)
    world.clock.advance(first - NOON - timedelta(microseconds=1))
    ask(agent)
    world.clock.advance(timedelta(microseconds=1))
    ask(agent)
    ask(agent)

    def at(bucket: datetime) -> int:
        return sum(each.many for each in look(world, span).buckets if each.start == bucket)

    assert (at(first - length), at(first)) == (1, 2)
    assert len(look(world, span).buckets) == many
    world.clock.advance(length * (many - 1) - timedelta(microseconds=1) + length)
    assert look(world, span).many == 2
    world.clock.advance(timedelta(microseconds=1))
    assert look(world, span).many == 0


def test_quantiles_are_waiting_times_that_occurred(world: World) -> None:
    """Of twenty waits from 1 to 20 minutes half are at most 10 minutes and 95 of 100 at most 19."""
    agent, reviewer = world.agent(), world.reviewer()
    asked = [ask(agent) for _ in range(20)]
    for decision in asked:
        world.advance(minutes=1)
        decide(reviewer, decision)
    world.advance(days=1)
    for seconds in (30, 10, 20):
        wait_and_decide(world, agent, reviewer, seconds)

    found = look(world)
    days = {bucket.start.day: bucket.waits for bucket in found.buckets if bucket.waits.many}

    assert days == {19: Waits(20, 10 * MINUTE, 19 * MINUTE), 20: Waits(3, 20.0, 30.0)}
    assert (found.waits.many, found.waits.median) == (23, 9 * MINUTE)
    assert found.every == 1


def test_what_counts_as_a_persons_wait(world: World) -> None:
    """An approval that nobody used counts when it was given; one that was withdrawn, and a rule's, do not count."""
    agent, reviewer = world.agent(), world.reviewer()
    world.service.add_rule(tool="issue_refund", parameter="amount", type="lower_limit", value=10, outcome="allow")
    ask(agent, 1)
    unused, withdrawn = ask(agent, expires_in=600), ask(agent)
    world.advance(minutes=2)
    decide(reviewer, unused)
    decide(reviewer, withdrawn)
    world.advance(hours=1)
    agent.post(f"/v1/gate/decision/{withdrawn['decision_id']}/cancel").raise_for_status()
    world.service.expire_due()

    assert look(world).waits == Waits(1, 2 * MINUTE, 2 * MINUTE)
    assert look(world).endings[Ending.LAPSED] == 2


def test_many_waits_are_sampled(world: World) -> None:
    """Over the bound every second waiting time is counted, and how many were decided stays exact."""
    agent, reviewer = world.agent(), world.reviewer()
    for seconds in (1, 2, 3, 4, 5, 6):
        wait_and_decide(world, agent, reviewer, seconds)

    found = world.service.read(lambda read: history(read, Asked(), most_waits=3))

    assert found.every == 2
    assert found.waits.many == 6
    assert (found.waits.median, found.waits.p95) in ((4.0, 6.0), (3.0, 5.0))
    assert world.service.read(lambda read: history(read, Asked(), most_waits=6)).waits == Waits(6, 3.0, 6.0)


def test_filters(world: World) -> None:
    """An agent's name and a tool narrow everything but the choices."""
    agent, reviewer = world.agent(), world.reviewer()
    wait_and_decide(world, agent, reviewer, 10, agent="Refunds")
    wait_and_decide(world, agent, reviewer, 20, agent="Refunds", action="send_email")
    wait_and_decide(world, agent, reviewer, 30, agent="Support", action="send_email")

    refunds, mails = look(world, agent="Refunds"), look(world, tool="send_email")

    assert (refunds.many, refunds.waits) == (2, Waits(2, 10.0, 20.0))
    assert [(part.name, part.requests) for part in refunds.tools.parts] == [("issue_refund", 1), ("send_email", 1)]
    assert (mails.many, mails.waits) == (2, Waits(2, 20.0, 30.0))
    assert [(part.name, part.waits.median) for part in mails.agents.parts] == [("Refunds", 20.0), ("Support", 30.0)]
    assert refunds.choices == mails.choices == (["Refunds", "Support"], ["issue_refund", "send_email"])
    assert look(world, agent="Refunds", tool="issue_refund").many == 1
    assert look(world, agent="nobody").many == 0


def test_the_largest_ten_and_the_rest(world: World) -> None:
    """Ten names, the largest first, and one sum for the others."""
    agent, reviewer = world.agent(), world.reviewer()
    for number in range(13):
        for _ in range(1 + (number == 7)):
            wait_and_decide(world, agent, reviewer, 1 + number, agent=f"agent {number:02}")

    shares = look(world).agents

    names = [part.name for part in shares.parts]
    assert names == ["agent 07", *(f"agent {n:02}" for n in range(10) if n != 7), None]
    assert shares.names == 13
    assert (shares.parts[0].requests, shares.parts[-1].requests) == (2, 3)
    assert shares.parts[-1].waits == Waits(3, 12.0, 13.0)
    assert "3 others" in Inbox(world).sign_in().page("/inbox/figures")


def drawings(page: str) -> list[ET.Element]:
    """The charts of a page, parsed as XML."""
    return [ET.fromstring(svg) for svg in re.findall(r"<svg xmlns=.*?</svg>", page, re.DOTALL)]


def rows_of(page: str, caption: str) -> list[list[str]]:
    """The body of the table that has a name."""
    table = re.search(rf'aria-label="{caption}"><table.*?</table>', page, re.DOTALL)
    assert table is not None
    return [
        [text_of(cell).strip() for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)]
        for row in re.findall(r"<tr>(.*?)</tr>", table[0], re.DOTALL)[1:]
    ]


def test_the_page(world: World) -> None:
    """Charts, captions and tables say the same, and a bar is as high as its number says."""
    agent, reviewer = world.agent(), world.reviewer()
    world.service.add_rule(tool="issue_refund", parameter="amount", type="lower_limit", value=10, outcome="allow")
    for _ in range(6):
        ask(agent, 1)
    wait_and_decide(world, agent, reviewer, 90 * MINUTE)
    wait_and_decide(world, agent, reviewer, 40)
    consume(agent, decide(reviewer, ask(agent)))

    page = Inbox(world).sign_in().page("/inbox/figures")
    requests, waits, agents, tools = drawings(page)

    said = text_of(page)
    assert "9 requests in the last 7 days: rules and grants settled 6, people 3, and 0 wait." in said
    assert "waited at most 40 s, 95 of 100 at most 1 h 30 min." in said
    heights = {
        part.attrib["class"]: float(part.attrib["height"])
        for part in requests.iter(f"{SVG}rect")
        if part.attrib["class"].startswith("part")
    }
    assert heights == {"part allowed": charts.HEIGHT * 6 / 10, "part approved": charts.HEIGHT * 3 / 10}
    assert len(list(waits.iter(f"{SVG}circle"))) == 2
    assert [drawing.attrib["role"] for drawing in (requests, waits, agents, tools)] == ["img"] * 4
    assert all(drawing.attrib["aria-label"] for drawing in (requests, waits, agents, tools))
    assert rows_of(page, "Requests")[-1] == ["Thu 19 Nov 2026", "9", "6", "3", "0", "0", "0", "0", "0"]
    assert rows_of(page, "Waiting time")[-1] == ["Thu 19 Nov 2026", "3", "40 s", "1 h 30 min"]
    assert rows_of(page, "By tool") == [["issue_refund", "9", "100.0%", "3", "40 s", "1 h 30 min"]]
    assert "style=" not in page
    assert "<style" not in page


def test_htmx_gets_the_part_that_changes(world: World) -> None:
    """A change of a filter needs the charts alone; without scripts the form leads to the same page."""
    agent = world.agent()
    agent.post("/v1/gate/decision", json=refund(new_task(agent), agent="Refunds")).raise_for_status()
    ann = Inbox(world).sign_in()
    path = "/inbox/figures?span=24h&agent=Refunds&tool="

    part, page = ann.get(path, headers={"HX-Request": "true"}).text, ann.page(path)

    assert part.strip().startswith('<div id="figures">')
    assert part.strip() in page
    assert 'value="24h" selected' in page
    assert 'value="Refunds" selected' in page


@pytest.mark.parametrize("role", list(Role))
def test_everybody_sees_it(world: World, role: Role) -> None:
    """Every role finds the page in the menu; nobody who is not signed in does."""
    someone = Inbox(world, "some", role).sign_in()

    assert '<a href="/inbox/figures">Figures</a>' in someone.page("/inbox")
    assert "Nothing was asked for or decided in the last 7 days." in text_of(someone.page("/inbox/figures"))
    assert world.client().get("/inbox/figures").status_code == 303


def test_nothing_fits(world: World) -> None:
    """A filter that fits nothing, and words that mean nothing, give a page that says so."""
    ask(world.agent())
    ann = Inbox(world).sign_in()

    assert "that fits" in text_of(ann.page("/inbox/figures?agent=nobody&span=24h"))
    assert "1 request in the last 7 days" in text_of(ann.page("/inbox/figures?span=%00&agent=%00&tool=%00"))
    assert 'value="7d" selected' in ann.page("/inbox/figures?span=forever")


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "]]><!-- &amp; {{ 7*7 }}",
    "\u202e\u2066turned\ufffe\u0007",
    "W" * 200,
    "مرحبا",
    "=HYPERLINK(1)",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_text(world: World, name: str) -> None:
    """Names of agents and tools are text in charts, tables and filters, and the charts stay well formed."""
    agent, reviewer = world.agent(), world.reviewer()
    wait_and_decide(world, agent, reviewer, 1, agent=name, action=name)

    page = Inbox(world).sign_in().page("/inbox/figures")

    assert len(drawings(page)) == 4
    shown = [part.text for part in drawings(page)[2].iter(f"{SVG}text") if part.attrib.get("class") == "name"]
    assert shown == [plain(name)]
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert not set("\u202e\u2066\ufffe\u0007") & set(re.sub(r'value="[^"]*"', "", page))
    assert rows_of(page, "By agent")[0][1] == "1"


def test_large_numbers() -> None:
    """Millions and years have short names on the axis and fit."""
    drawn = charts.stacked("many", [Place("a"), Place("b")], [Series("part", [3_400_000, 1])])
    texts = [each.text for each in ET.fromstring(drawn).iter(f"{SVG}text")]

    assert texts == ["0", "1 M", "2 M", "3 M", "4 M"]
    assert [name for _, name in charts.count_ticks(47_000)] == ["0", "10 k", "20 k", "30 k", "40 k", "50 k"]
    assert [name for _, name in charts.length_ticks([0.2, 10**12])][-2:] == ["30 d", "1 y"]
    longest = ET.fromstring(charts.lines("long", [Place("a")], [Series("curve", [10.0**12])]))
    assert float(next(longest.iter(f"{SVG}circle")).attrib["cy"]) > 0


@pytest.mark.parametrize("highest", [*range(30), 99, 100, 101, 4_999, 5_001, 10**6 - 1, 10**10 + 1])
def test_scale_of_counts(highest: int) -> None:
    """From nought to at least the highest number in at most five even steps of whole numbers."""
    ticks = [value for value, _ in charts.count_ticks(highest)]

    assert ticks[0] == 0
    assert ticks[-1] >= highest
    assert 2 <= len(ticks) <= 6
    assert len({after - before for before, after in itertools.pairwise(ticks)}) == 1


def test_scale_of_lengths() -> None:
    """Named lengths around the values, and a line that ends where there is no value."""
    assert [name for _, name in charts.length_ticks([5, 4000])] == ["1 s", "10 s", "1 min", "10 min", "1 h", "6 h"]
    assert [name for _, name in charts.length_ticks([60])] == ["1 min", "10 min"]
    places = [Place(str(number)) for number in range(4)]
    drawn = ET.fromstring(charts.lines("gap", places, [Series("curve", [60, None, 600, 60])]))
    curve = next(each for each in drawn.iter(f"{SVG}g") if each.attrib.get("class") == "curve")

    assert len(list(curve.iter(f"{SVG}circle"))) == 3
    assert [(line.attrib["y1"], line.attrib["y2"]) for line in curve.iter(f"{SVG}line")] == [("12", "202")]


def test_bars_are_in_proportion() -> None:
    """The longest bar has the width of its place, the others their part of it; no wait has no bar."""
    rows = [Row("a", 8, "8", 30.0, "30 s"), Row("b", 2, "2", None, "none")]
    drawn = ET.fromstring(charts.bars("about", ("Requests", "Wait"), rows))
    widths = [(each.attrib["class"], each.attrib["width"]) for each in drawn.iter(f"{SVG}rect")]

    assert widths == [("bar", "30%"), ("bar wait", "20%"), ("bar", "7.5%")]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "under 1 s"),
        (42, "42 s"),
        (149.4, "2 min 29 s"),
        (3600, "1 h"),
        (5050, "1 h 24 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_lengths_in_words(seconds: float, said: str) -> None:
    """The two largest units."""
    assert lasting(seconds) == said


# Machado, Oliveira, Fernandes: A Physiologically-based Model for Simulation of Color Vision Deficiency (2009).
SIGHT = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "no blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def linear(colour: str) -> list[float]:
    """A colour as linear red, green and blue."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def luminance(light: list[float]) -> float:
    """How bright it is."""
    return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]


def lab(light: list[float]) -> tuple[float, float, float]:
    """CIE L*a*b*, in which distances are about as large as they look."""
    x = (0.4124564 * light[0] + 0.3575761 * light[1] + 0.1804375 * light[2]) / 0.95047
    z = (0.0193339 * light[0] + 0.1191920 * light[1] + 0.9503041 * light[2]) / 1.08883
    a, b, c = (each ** (1 / 3) if each > 0.008856 else 7.787 * each + 16 / 116 for each in (x, luminance(light), z))
    return 116 * b - 16, 500 * (a - b), 200 * (b - c)


@pytest.mark.parametrize("look", [0, 1], ids=["light", "dark"])
def test_colours_can_be_told_apart(look: int) -> None:
    """Every colour has a contrast of 3 to the card, and no two look alike to anybody."""
    css = (Path(inbox.__file__).parent / "static" / "inbox.css").read_text(encoding="utf-8")
    named = {name: pair[look] for name, *pair in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", css)}
    colours = [linear(named[name]) for name in ("approved", "rejected", "sent-back", "lapsed")]
    card = luminance(linear(named["card"]))

    for colour in colours:
        low, high = sorted((luminance(colour), card))
        assert (high + 0.05) / (low + 0.05) >= 3
    for sight in SIGHT.values():
        seen = [lab([sum(row[n] * colour[n] for n in range(3)) for row in sight]) for colour in colours]
        assert min(math.dist(one, other) for one, other in itertools.combinations(seen, 2)) > 20


def test_it_costs_the_same_for_many(world: World) -> None:
    """The number of queries does not grow with the requests, buckets or names."""
    agent, reviewer = world.agent(), world.reviewer()
    counted = []
    for _ in range(2):
        for number in range(12):
            body = {"tool_name": f"tool {number}", "workflow_name": f"w{number}"}
            agent.post("/api/agent/tasks/t/requests", json=body).raise_for_status()
            decide(reviewer, ask(agent, action=f"other {number}"))
        counted.append(queries(world))

    assert counted[0] == counted[1] < 15


def queries(world: World) -> int:
    """How many statements a history takes."""
    said: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        said.append(statement)

    engine = world.service.backend.reader
    event.listen(engine, "before_cursor_execute", note)
    look(world, Span.QUARTER)
    event.remove(engine, "before_cursor_execute", note)
    return len(said)
