"""Idempotency keys: the first answer again, for the same body only."""

from __future__ import annotations

from typing import Any

import httpx

from tests.server.conftest import World, ask, assert_problem, consume, decide, new_task, refund


def post(agent: httpx.Client, path: str, body: dict[str, Any] | bytes, key: str = "key-1") -> httpx.Response:
    """POST with a key."""
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    return agent.post(path, headers={"Idempotency-Key": key}, **content)  # type: ignore[arg-type]


def test_same_key_same_body(world: World) -> None:
    """The first answer again, marked as such, and one effect."""
    agent = world.agent()
    body = refund(new_task(agent))

    first, again = (post(agent, "/v1/gate/decision", body) for _ in range(2))

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.content == again.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert len(world.reviewer().get("/v1/reviews").json()["reviews"]) == 1


def test_same_json_written_differently(world: World) -> None:
    """The same object in another order of names is the same body."""
    agent = world.agent()
    task_id = new_task(agent)
    one = b'{"task_id": "%s", "agent_id": "a", "action": "x"}' % task_id.encode()
    two = b'{"action":"x","agent_id":"a","task_id":"%s"}' % task_id.encode()

    assert post(agent, "/v1/gate/decision", one).content == post(agent, "/v1/gate/decision", two).content


def test_same_key_other_body(world: World) -> None:
    """The same key for another body is refused."""
    agent = world.agent()
    task_id = new_task(agent)
    post(agent, "/v1/gate/decision", refund(task_id, 1))

    assert "Idempotency-Key" in assert_problem(post(agent, "/v1/gate/decision", refund(task_id, 2)), 422)["detail"]


def test_scope(world: World) -> None:
    """A key is the agent's own, and of one address."""
    one, two = world.agent("one"), world.agent("two")
    body = {"agent_id": "a", "framework_origin": "Other", "task_name": "t"}

    answers = [post(one, "/v1/tasks", body), post(two, "/v1/tasks", body)]
    requests = [post(one, f"/api/agent/tasks/{task}/requests", {"tool_name": "x"}) for task in ("a", "b")]

    assert answers[0].json() != answers[1].json()
    assert requests[0].json()["thread_id"] != requests[1].json()["thread_id"]


def test_without_key(world: World) -> None:
    """A request without a key is always new."""
    agent = world.agent()
    body = refund(new_task(agent))

    ids = {agent.post("/v1/gate/decision", json=body).json()["decision_id"] for _ in range(3)}

    assert len(ids) == 3


def test_every_post(world: World) -> None:
    """Tasks, events, consume and cancel are repeated without a second effect."""
    agent, reviewer = world.agent(), world.reviewer()
    decision, other = decide(reviewer, ask(agent)), ask(agent)
    task_id = new_task(agent)
    event = {"event_type": "task.started", "payload": {}}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("/v1/tasks", {"agent_id": "a", "framework_origin": "Other", "task_name": "t"}),
        (f"/api/agent/tasks/{task_id}/events", event),
        (f"/v1/gate/decision/{decision['id']}/consume", {"action_digest": decision["action_digest"]}),
        (f"/v1/gate/decision/{other['id']}/cancel", {}),
    ]

    for path, body in calls:
        first, again = (post(agent, path, body) for _ in range(2))
        assert first.is_success, first.text
        assert (first.status_code, first.content) == (again.status_code, again.content)
        assert again.headers["idempotency-replayed"] == "true"
    assert_problem(consume(agent, decision), 409)


def test_refusal_is_not_kept(world: World) -> None:
    """What had no effect may succeed later under the same key."""
    agent = world.agent()
    decision = ask(agent)
    path, body = f"/v1/gate/decision/{decision['id']}/consume", {"action_digest": decision["action_digest"]}

    assert_problem(post(agent, path, body), 403)
    decide(world.reviewer(), decision)

    assert post(agent, path, body).status_code == 200


def test_after_a_restart(world: World) -> None:
    """The answer survives the gate's restart."""
    agent = world.agent()
    body = refund(new_task(agent))
    first = post(agent, "/v1/gate/decision", body)

    world.server.stop()
    world.server.start()

    headers = {"Authorization": agent.headers["authorization"], "Idempotency-Key": "key-1"}
    assert httpx.post(f"{world.url}/v1/gate/decision", json=body, headers=headers).content == first.content


def test_long_key(world: World) -> None:
    """A key has at most 255 characters."""
    assert_problem(post(world.agent(), "/v1/tasks", {}, "k" * 256), 422)
