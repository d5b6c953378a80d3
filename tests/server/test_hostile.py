"""Every field of a request is hostile: a 4xx and never a 500, on either database, and nothing is half done."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.conftest import World, ask, assert_problem, decide, new_task, refund

if TYPE_CHECKING:
    from collections.abc import Callable

DEEP = "[" * 5000 + "]" * 5000
NASTY = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b"\x00",
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b'{"a": "\\ud800"}',
    b'{"\\ud800": 1}',
    DEEP.encode(),
    ('{"a":' * 3000 + "1" + "}" * 3000).encode(),
]
VALUES = [
    "\0",
    "a\0b",
    {"\0": 1},
    [["\0"]],
    10**400,
    -(10**30),
    2**53 + 1,
    1.5e308,
    True,
    None,
    "",
    "x" * 100_000,
    "\u202e\u2066<script>alert(1)</script>=cmd|'/c calc'!A0",
    "\U0010ffff",
    {"__proto__": {}, "$ref": "#", "": {}},
    [[[[[[]]]]]],
]
FIELDS = [
    *("task_id", "agent_id", "framework_origin", "correlation_id", "agent", "action", "risk", "risk_reason", "subject"),
    *("context", "arguments", "redacted", "arguments_schema", "summary", "preview", "action_digest", "expires_in"),
    *("revises", "unknown"),
]


@pytest.mark.parametrize("body", NASTY)
def test_not_a_json_object(world: World, body: bytes) -> None:
    """What is no JSON object is 400 or 422 on every route that takes a body."""
    agent, reviewer = world.agent(), world.reviewer()
    routes = ["/v1/tasks", "/v1/tasks/t/events", "/v1/gate/decision", "/v1/gate/decision/d/consume"]
    routes += ["/api/agent/tasks/t/events", "/api/agent/tasks/t/requests", "/api/agent/approvals/validate"]

    for route in routes:
        answer = agent.post(route, content=body)
        assert_problem(answer, answer.status_code)
        assert answer.status_code in (400, 422), (route, answer.text)
    for route in ("decide", "notes", "settle"):
        assert reviewer.post(f"/v1/reviews/d/{route}", content=body).status_code in (400, 422)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_values(world: World, value: Any) -> None:
    """Every value in every field of a request is taken or refused, and what was taken can be read again."""
    agent, reviewer = world.agent(), world.reviewer()
    task = new_task(agent)

    for name in FIELDS:
        for placed in (value, {"x": value}, [value]):
            answer = agent.post("/v1/gate/decision", content=json.dumps(refund(task, **{name: placed})))
            assert answer.status_code in (200, 202, 404, 422), (name, answer.text)
            answer = agent.post(
                "/api/agent/tasks/t/requests",
                content=json.dumps({"tool_name": "x", "payload": {"p": placed}, name: placed}),
            )
            assert answer.status_code in (200, 422), (name, answer.text)
    for review in reviewer.get("/v1/reviews", params={"limit": 200}).json()["reviews"]:
        assert reviewer.get(f"/v1/reviews/{review['decision_id']}").status_code == 200
    assert world.service.verify_audit().ok


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_event_values(world: World, value: Any) -> None:
    """The same for events, tasks, digests, tokens, notes and messages."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = decide(reviewer, ask(agent))
    one = f"/v1/gate/decision/{decision['id']}"
    calls = [
        (agent, "/api/agent/tasks/t/events", {"event_type": value, "payload": {"x": value}}),
        (agent, "/api/agent/tasks/t/events", {"event_type": "tool.executed", "payload": {"decision_id": value}}),
        (agent, "/api/agent/tasks/t/events", {"event_type": "revision", "thread_id": value, "payload": {}}),
        (
            agent,
            "/v1/tasks",
            {"agent_id": value, "framework_origin": "Other", "task_name": value, "metadata": {"x": value}},
        ),
        (agent, f"{one}/consume", {"action_digest": value, "approval_token": value}),
        (agent, "/api/agent/approvals/validate", {"task_id": value, "signature": value}),
        (reviewer, f"/v1/reviews/{decision['id']}/notes", {"text": value}),
        (reviewer, f"/v1/reviews/{decision['id']}/decide", {"outcome": value, "message": value, "arguments": value}),
        (reviewer, f"/v1/reviews/{ask(agent)['id']}/decide", {"outcome": "approve", "arguments": {"x": value}}),
    ]

    for client, path, body in calls:
        answer = client.post(path, content=json.dumps(body))
        assert answer.status_code in (200, 201, 400, 404, 409, 422), (path, answer.text)
    assert world.service.verify_audit().ok


@pytest.mark.parametrize(
    "part", ["%00", "a%00b", "%ff%fe", "%ed%a0%80", "x" * 5000, "..%2f..", "%E2%80%AE", "'; DROP TABLE x"]
)
def test_addresses(world: World, part: str) -> None:
    """Odd ids in the address are unknown or invalid."""
    agent, reviewer = world.agent(), world.reviewer()

    answers = [
        agent.get(f"/v1/gate/decision/{part}"),
        agent.get(f"/v1/gate/decision/THR-{part}"),
        agent.post(f"/v1/gate/decision/{part}/cancel"),
        agent.post(f"/v1/gate/decision/{part}/consume", json={"action_digest": "x"}),
        agent.post(f"/api/agent/tasks/{part}/requests", json={"tool_name": "x"}, headers={"Idempotency-Key": "k"}),
        agent.post(f"/api/agent/tasks/{part}/events", json={"event_type": "x"}),
        agent.get(f"/api/agent/decisions?task_id={part}"),
        agent.get(f"/api/agent/decisions?thread_id={part}"),
        reviewer.get(f"/v1/reviews/{part}"),
        reviewer.get(f"/v1/reviews?cursor={part}"),
        reviewer.get(f"/v1/reviews?folder={part}"),
    ]

    for answer in answers:
        assert answer.status_code in (200, 201, 404, 422), (answer.request.url, answer.text)


def test_headers(world: World) -> None:
    """Odd headers are taken or refused."""
    agent = world.agent()
    task = new_task(agent)

    for name in ("Idempotency-Key", "Stacksona-Attempt", "Last-Event-ID"):
        for value in (b"\xff\xfe", b"x" * 300, b"'\"; --", b"\xc3\xa9"):
            answer = agent.post("/v1/gate/decision", json=refund(task), headers={name: value})
            assert answer.status_code in (202, 422), (name, value, answer.text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_any_json(world: World) -> None:
    """Any JSON in any field: never a 5xx, and the chain holds."""
    agent = world.agent()
    task = new_task(agent)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.dictionaries(st.sampled_from(FIELDS), JSON), JSON)
    def post(fields: dict[str, Any], payload: Any) -> None:
        body = json.dumps({**refund(task), **fields})
        assert agent.post("/v1/gate/decision", content=body).status_code < 500
        sent = json.dumps({"tool_name": "x", "payload": payload, **fields})
        assert agent.post("/api/agent/tasks/t/requests", content=sent).status_code < 500

    post()

    assert world.service.verify_audit().ok


def test_longest_body(start: Callable[..., World]) -> None:
    """A body over the limit is 413, also in chunks; one below it is taken."""
    world = start(max_body=20_000)
    agent = world.agent()
    long, short = b'{"x": "%s"}' % (b"x" * 30_000), b'{"x": "%s"}' % (b"x" * 10_000)

    def chunks() -> Any:
        for at in range(0, len(long), 1000):
            yield long[at : at + 1000]

    assert_problem(agent.post("/v1/tasks", content=long), 413)
    assert_problem(agent.post("/v1/tasks", content=chunks()), 413)
    assert_problem(agent.post("/nowhere", content=long), 413)
    assert_problem(agent.post("/v1/tasks", content=short), 422)
    assert agent.get("/healthz").status_code == 200


def test_default_limit(world: World) -> None:
    """A mebibyte is the limit."""
    assert_problem(world.agent().post("/v1/tasks", content=b'{"x": "%s"}' % (b"x" * 1024 * 1024)), 413)


def test_wrong_addresses(world: World) -> None:
    """404 and 405 are problem details too."""
    client = httpx.Client(base_url=world.url)
    with client:
        assert_problem(client.get("/nowhere"), 404)
        assert_problem(client.put("/v1/tasks"), 405)
        assert_problem(client.get("/v1/gate/decision"), 405)
        for path in ("/v1/reviews/d/decide", "/v1/gate/decision/d/consume"):
            assert_problem(client.get(path), 405)
            assert client.head(path).status_code == 405
