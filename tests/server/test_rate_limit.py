"""How much one agent may ask of the gate."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.server.api.limits import RateLimit
from tests.server.conftest import World, ask, assert_problem, decide, refund
from tests.server.test_metrics import values


def test_over_the_limit(start: Callable[..., World]) -> None:
    """Over it the answer is 429 and says when; reading, reviewers and other keys go on."""
    world = start(rate_limit="4/hour")
    agent, other = world.agent(), world.agent("other")
    first, second = ask(agent, 1), ask(agent, 2)
    answer = agent.post("/v1/gate/decision", json=refund(first["task_id"], 3))

    assert_problem(answer, 429)
    assert 0 < int(answer.headers["retry-after"]) <= 3600
    assert decide(world.reviewer(), second)["status"] == "approved"
    assert agent.get(f"/v1/gate/decision/{second['decision_id']}").json()["status"] == "approved"
    assert ask(other, 1)["status"] == "pending_review"
    assert world.client("sg_unknown").post("/v1/tasks", json={}).status_code in (401, 422)


def test_the_client_waits_and_goes_on(start: Callable[..., World]) -> None:
    """Our own client takes a 429 as what it is: not now. Nothing is lost and nothing is asked twice."""
    world = start(rate_limit="12/second")
    world.service.add_rule(tool="pay", parameter="amount", type="upper_limit", value=0, outcome="allow")
    key = world.service.add_agent("bot").key
    with Gate(agent="bot", url=world.url, api_key=key) as gate:
        decisions = [gate.request(gate.action("pay", {"amount": number})) for number in range(1, 9)]
        gate.flush()

    assert [each.decision.status.value for each in decisions] == ["allow"] * 8
    page = world.reviewer().get("/v1/reviews").json()["reviews"]
    assert sorted(each["arguments"]["amount"] for each in page) == list(range(1, 9))
    counted = values(world.reviewer().get("/metrics").text)
    assert sum(many for labels, many in counted.items() if labels[-1] == "429") > 0


@pytest.mark.parametrize("rate", ["many", "5", "0/second", "-1/minute", ""])
def test_a_rate_that_cannot_be_read(rate: str) -> None:
    """The gate does not start with a rate that means nothing; the text says how to write one."""
    with pytest.raises(ConfigurationError, match="600/minute"):
        RateLimit(rate)
