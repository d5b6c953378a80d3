"""People are told once that requests wait; a burst is one message; an agent's text stays text."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.server.delivery.notify import compose, plain
from stacksona_adapters.server.service import notices, policies
from stacksona_adapters.server.service.notices import Waiting
from tests.server.conftest import World, ask, decide
from tests.server.webhook_receiver import Receiver, webhook_receiver


@pytest.fixture
def channel() -> Iterator[Receiver]:
    """A channel: Apprise's own JSON service, received by a real server."""
    with webhook_receiver() as running:
        yield running


def told(world: Callable[..., World], channel: Receiver, **settings: Any) -> World:
    """A gate that tells the channel."""
    url = channel.url.replace("http://", "json://")
    return world(notify=(url,), notify_delay=0.3, sweep_interval=0.05, public_url="https://gate.example", **settings)


def message(channel: Receiver, number: int = 0) -> dict[str, Any]:
    """A message that the channel got."""
    return json.loads(channel.got[number][1])


def test_a_burst_is_one_message(start: Callable[..., World], channel: Receiver) -> None:
    """Three requests at once make one message with a link; later ones make another."""
    world = told(start, channel)
    agent = world.agent()
    for amount in (100, 200, 300):
        ask(agent, amount, risk="high", subject="order 8821")
    channel.wait()
    one = ask(agent, 400)
    channel.wait()

    assert message(channel)["title"] == "3 requests wait for a reviewer"
    assert "high: issue\u02cdrefund by refund-bot for order 8821" in message(channel)["message"]
    assert message(channel)["message"].endswith("https://gate.example/inbox")
    assert message(channel, 1)["message"].endswith(f"https://gate.example/inbox/requests/{one['decision_id']}")
    assert len(channel.got) == 2


def test_a_failing_channel_is_tried_again(start: Callable[..., World], channel: Receiver) -> None:
    """A channel that is down for a moment gets the message later."""
    world = told(start, channel)
    channel.statuses = [500, 200]
    ask(world.agent())
    channel.wait(2)

    assert message(channel) == message(channel, 1)


def test_a_process_that_dies_leaves_its_message_to_another(start: Callable[..., World], channel: Receiver) -> None:
    """What was claimed and never sent is told of when the lease is over, with what came meanwhile; then never again."""
    quiet = start()
    agent = quiet.agent()
    ask(agent, 100)
    assert quiet.service.write(notices.claim) is not None  # and then it is killed
    world = told(start, channel)
    ask(agent, 200)
    assert quiet.service.read(notices.unannounced) is False
    assert channel.got == []
    world.advance(minutes=11)
    channel.wait()

    assert message(channel)["title"] == "2 requests wait for a reviewer"
    ask(agent, 300)
    channel.wait()
    assert message(channel, 1)["title"] == "A request waits for a reviewer"


def test_nobody_is_told_of_what_a_rule_decides(start: Callable[..., World], channel: Receiver) -> None:
    """Allowed and rejected requests make no message; the next one that waits does, alone."""
    world = told(start, channel)
    world.service.add_rule(tool="issue_refund", parameter="amount", type="lower_limit", value=50, outcome="allow")
    agent = world.agent()
    ask(agent, 10)
    ask(agent, 100)
    channel.wait()

    assert message(channel)["title"] == "A request waits for a reviewer"


def test_people_are_told_that_another_approval_is_needed(start: Callable[..., World], channel: Receiver) -> None:
    """The first approval of two makes a message, the second none."""
    world = told(start, channel)
    world.service.write(lambda w: policies.add(w, {"risks": ["critical"], "approvals": 2}, by="root"))
    ann, bob = world.reviewer("ann"), world.reviewer("bob")
    agent = world.agent()
    one, other = ask(agent, 100, risk="critical", subject="order 1"), ask(agent, 200, risk="critical")
    channel.wait()
    decide(ann, one)
    channel.wait()
    decide(bob, one)
    decide(bob, other)
    channel.wait()

    assert message(channel)["title"] == "2 requests wait for a reviewer"
    assert "approval" not in message(channel)["message"]
    assert message(channel, 1)["title"] == "A request waits for a reviewer"
    assert "critical: issue\u02cdrefund by refund-bot for order 1, 1 of 2 approvals" in message(channel, 1)["message"]
    assert "1 of 2 approvals" in message(channel, 2)["message"]
    assert message(channel, 2)["message"].endswith(other["decision_id"])
    assert len(channel.got) == 3


HOSTILE = (
    "<!channel> <http://evil.example|click> @everyone\n# *bold* [x](http://evil.example) `code`\x00\u202eabc"
    + "x" * 500
)


def test_an_agents_text_stays_text() -> None:
    """No mention, link, markup, new line or control character gets through, and long text is cut."""
    line = plain(HOSTILE)

    assert len(line) <= 80
    for mark in ("<", ">", "@", "://", "\n", "*", "[", "`", "\x00", "\u202e", "|"):
        assert mark not in line
    title, body = compose([Waiting("dec_1", HOSTILE, HOSTILE, "high", HOSTILE)] * 12, "https://gate.example/inbox")
    assert title == "12 requests wait for a reviewer"
    assert "and 2 more" in body
    assert body.count("\n") == 12
    assert body.count("://") == 1


def test_an_unknown_service_is_a_mistake_of_the_operator(start: Callable[..., World]) -> None:
    """The gate does not start with a notification URL that would silently tell nobody."""
    with pytest.raises(ConfigurationError, match="nosuch"):
        start(notify=("nosuch://x",))
    asyncio.run(asyncio.sleep(0))
