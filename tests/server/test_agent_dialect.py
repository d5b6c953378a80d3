"""The agent dialect, and the contract's curl calls."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

import httpx
import pytest

from stacksona_adapters.protocol.canonical import action_digest
from tests.server.conftest import World, assert_problem, consume, decide

REQUEST = {
    "workflow_name": "Customer Support",
    "task_label": "Approve customer email",
    "tool_name": "send_email",
    "subject": "Send reply to customer@example.com",
    "preview": "Agent drafted a reply.",
    "risk_level": "medium",
}


def send(agent: httpx.Client, task_id: str = "task_123", **fields: Any) -> dict[str, Any]:
    """Send a request; the answer's body."""
    answer = agent.post(f"/api/agent/tasks/{task_id}/requests", json={**REQUEST, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def revise(agent: httpx.Client, thread_id: str | None, task_id: str = "task_123", **payload: Any) -> httpx.Response:
    """Send a revision of a thread."""
    body = {"event_type": "revision", "thread_id": thread_id, "payload": payload}
    return agent.post(f"/api/agent/tasks/{task_id}/events", json=body)


CONTRACT = """
curl -X POST "$STACKSONA_GATE_URL/api/agent/tasks/task_123/requests" -H "Authorization: Bearer $STACKSONA_API_KEY" \\
  -H "Content-Type: application/json" -d '{"workflow_name": "Customer Support", "task_label": "Approve customer email",
  "tool_name": "send_email", "subject": "Send reply to customer@example.com", "preview": "Agent drafted a reply.", "risk_level": "medium"}'
curl "$STACKSONA_GATE_URL/api/agent/decisions?thread_id=THR-4F2A9C1B" -H "Authorization: Bearer $STACKSONA_API_KEY"
curl -X POST "$STACKSONA_GATE_URL/api/agent/approvals/validate" -H "Authorization: Bearer $STACKSONA_API_KEY" \\
  -H "Content-Type: application/json" -d '{"task_id":"task_123","signature":"APPROVAL_TOKEN"}'
curl -X POST "$STACKSONA_GATE_URL/api/agent/tasks/task_123/events" -H "Authorization: Bearer $STACKSONA_API_KEY" \\
  -H "Content-Type: application/json" -d '{"event_type": "task.started", "event_summary": "Customer requested refund for order #8821",
  "payload": {"customer_id": "cus_99", "order_id": "ord_8821"}}'
curl -X POST "$STACKSONA_GATE_URL/v1/tasks" -H "Authorization: Bearer $STACKSONA_API_KEY" -H "Content-Type: application/json" \\
  -d '{"agent_id": "refund-bot", "framework_origin": "PydanticAI", "task_name": "Refund order 8821"}'
"""  # noqa: E501 - as the contract writes it
REQUESTED, DECISION, VALIDATE, EVENT, TASK = ["curl " + call for call in CONTRACT.split("\ncurl ")[1:]]


def test_curl(world: World) -> None:
    """The contract's calls work as written; the thread id and token are those that the gate gave."""
    new = world.service.add_agent("support", signed_approval=True)
    environment = {**os.environ, "STACKSONA_GATE_URL": world.url, "STACKSONA_API_KEY": new.key}

    def curl(call: str, written: str = "", given: str = "") -> dict[str, Any]:
        command = call.replace(written, given) if written else call
        done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, check=True, timeout=30)
        return json.loads(done.stdout)

    asked = curl(REQUESTED)
    assert asked["status"] == "pending_review"
    assert asked["task_id"] == "task_123"
    assert re.fullmatch(r"THR-[0-9A-F]{8}", asked["thread_id"])
    assert curl(DECISION)["status"] == 404
    assert curl(DECISION, "THR-4F2A9C1B", asked["thread_id"])["status"] == "pending_review"
    assert curl(VALIDATE)["status"] == 422
    decide(world.reviewer(), asked, message="fine")
    decided = curl(DECISION, "THR-4F2A9C1B", asked["thread_id"])
    assert (decided["status"], decided["message"]) == ("approved", "fine")
    assert curl(VALIDATE, "APPROVAL_TOKEN", decided["approval_token"])["valid"] is True
    assert curl(EVENT)["event_id"]
    assert curl(TASK)["task_id"]


def test_only_the_tool_is_needed(world: World) -> None:
    """A request may omit any field but `tool_name`, and its task need not exist."""
    agent = world.agent("support")

    answer = agent.post("/api/agent/tasks/new/requests", json={"tool_name": "send_email"})

    assert answer.json()["status"] == "pending_review"
    assert answer.json()["action_digest"] == action_digest("support", "send_email", None, {})
    assert_problem(agent.post("/api/agent/tasks/new/requests", json={}), 422)


def test_camel_case(world: World) -> None:
    """The LlamaIndex guide's names are accepted."""
    body = {"workflowName": "W", "taskLabel": "L", "toolName": "send", "riskLevel": "critical", "payload": {"a": 1}}

    answer = world.agent().post("/api/agent/tasks/t/requests", json=body)

    assert answer.json()["action_digest"] == action_digest("W", "send", None, {"a": 1})
    assert world.reviewer().get("/v1/reviews").json()["reviews"][0]["risk"] == "critical"


def test_rules_on_the_payload(world: World) -> None:
    """Rules apply to the payload, and an allowed permission is taken with the answer."""
    world.service.add_rule(tool="send_email", parameter="to.0", type="contains", value="@example.com", outcome="allow")
    agent = world.agent()
    url = "/api/agent/tasks/t/requests"

    allowed = agent.post(
        url, json={**REQUEST, "payload": {"to": ["a@example.com"]}}, headers={"Stacksona-Attempt": "1"}
    )
    pending = agent.post(url, json={**REQUEST, "payload": {"to": ["a@example.org"]}})

    assert (allowed.json()["status"], allowed.json()["consumed_by"]) == ("allow", "1")
    assert pending.json()["status"] == "pending_review"


def test_newest_of_a_task(world: World) -> None:
    """`task_id` gives the task's newest decision."""
    agent = world.agent()
    first, second = send(agent), send(agent)
    decide(world.reviewer(), first)

    answer = agent.get("/api/agent/decisions", params={"task_id": "task_123"})

    assert answer.json()["thread_id"] == second["thread_id"]
    assert_problem(agent.get("/api/agent/decisions", params={"task_id": "other"}), 404)
    assert_problem(agent.get("/api/agent/decisions", params={"thread_id": "dec_x"}), 404)
    assert_problem(agent.get("/api/agent/decisions"), 422)
    assert_problem(agent.get("/api/agent/decisions", params={"task_id": "a", "thread_id": "b"}), 422)


def test_same_task_id_of_two_agents(world: World) -> None:
    """Two agents may choose the same task id and share nothing."""
    one, two = world.agent("one"), world.agent("two")
    send(one)

    assert_problem(two.get("/api/agent/decisions", params={"task_id": "task_123"}), 404)
    thread = send(two)["thread_id"]
    assert two.get("/api/agent/decisions", params={"task_id": "task_123"}).json()["thread_id"] == thread


def test_executed_event_closes(world: World) -> None:
    """`tool.executed` with the thread's id closes the permission."""
    agent = world.agent()
    asked = send(agent)
    decided = decide(world.reviewer(), asked)
    consume(agent, decided)

    body = {"event_type": "tool.executed", "thread_id": asked["thread_id"], "payload": {"outcome": "failed"}}
    assert agent.post("/api/agent/tasks/task_123/events", json=body).status_code == 201

    assert assert_problem(consume(agent, decided), 409)["outcome"] == "failed"


def test_event_kinds_cannot_pretend(world: World) -> None:
    """An agent's own word for an event never reads like a record of the gate."""
    agent = world.agent()
    asked = send(agent)
    agent.post("/api/agent/tasks/task_123/events", json={"event_type": "decision.approved", "payload": {}})
    agent.post("/api/agent/tasks/task_123/events", json={"event_type": "task.started", "event_summary": "Began"})

    timeline = world.reviewer().get(f"/v1/reviews/{asked['decision_id']}").json()["timeline"]

    kinds = [entry["kind"] for entry in timeline]
    assert kinds == ["task.created", "decision.requested", "event:decision.approved", "TASK_STARTED"]
    assert timeline[-1]["summary"] == "Began"


def test_revision(world: World) -> None:
    """A revision changes what the reviewer sees and what is approved; the first digest approves nothing more."""
    agent, reviewer = world.agent(), world.reviewer()
    asked = send(agent, payload={"to": "a"})

    changed = {"subject": "S", "preview": "P", "summary": ["one"], "payload": {"to": "b"}, "risk_level": "high"}
    assert revise(agent, asked["thread_id"], **changed).status_code == 201

    seen = reviewer.get(f"/v1/reviews/{asked['decision_id']}").json()
    assert {name: seen[name] for name in ("subject", "preview", "summary", "risk")} == {
        "subject": "S",
        "preview": "P",
        "summary": ["one"],
        "risk": "high",
    }
    assert seen["arguments"] == {"to": "b"}
    digest = action_digest("Customer Support", "send_email", "S", {"to": "b"})
    assert seen["action_digest"] == digest
    stale = {"outcome": "approve", "action_digest": asked["action_digest"]}
    assert_problem(reviewer.post(f"/v1/reviews/{asked['decision_id']}/decide", json=stale), 409)
    decided = decide(reviewer, asked, action_digest=digest)
    assert_problem(consume(agent, asked), 422)
    assert consume(agent, decided).status_code == 200
    assert_problem(revise(agent, asked["thread_id"], subject="late"), 409)


def test_revision_meets_the_rules(world: World) -> None:
    """A revision is rejected by a rule that forbids it, and never allowed by one."""
    world.service.add_rule(tool="send_email", parameter="to", type="contains", value="evil", outcome="reject")
    world.service.add_rule(tool="send_email", parameter="to", type="contains", value="friend", outcome="allow")
    agent = world.agent()
    asked, other = send(agent, payload={"to": "x"}), send(agent, payload={"to": "x"})

    revise(agent, asked["thread_id"], payload={"to": "friend"})
    revise(agent, other["thread_id"], payload={"to": "evil friend"})

    assert (
        agent.get("/api/agent/decisions", params={"thread_id": asked["thread_id"]}).json()["status"] == "pending_review"
    )
    decided = agent.get("/api/agent/decisions", params={"thread_id": other["thread_id"]}).json()
    assert decided["status"] == "rejected"
    assert "rule" in decided["message"]


@pytest.mark.parametrize("payload", [{"summary": "text"}, {"risk_level": "extreme"}, {"payload": []}])
def test_bad_revision(world: World, payload: dict[str, Any]) -> None:
    """A revision with a wrong field changes nothing."""
    agent = world.agent()
    asked = send(agent)

    problem = assert_problem(revise(agent, asked["thread_id"], **payload), 422)

    assert problem["errors"][0]["pointer"] == f"/payload/{next(iter(payload))}"


def test_revision_of_nothing(world: World) -> None:
    """A revision needs a thread of this agent and task."""
    agent, other = world.agent("one"), world.agent("two")
    thread = send(agent)["thread_id"]

    assert_problem(revise(agent, None), 422)
    assert_problem(revise(agent, "THR-00000000"), 404)
    assert_problem(revise(agent, thread, task_id="other"), 404)
    assert_problem(revise(other, thread), 404)
