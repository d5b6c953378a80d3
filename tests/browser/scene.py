"""A shop's afternoon at the gate: the requests that the browser tests and the pictures in docs/ show."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from datetime import datetime

    from stacksona_adapters.server.clock import ManualClock
    from stacksona_adapters.testing import RunningGate

MAIL = """Dear Ms Okafor,

we are sorry that your parcel was lost. We have sent a replacement today; it should reach you by Thursday.

Kind regards
Lindenhof Shop"""

PATCH = """diff --git a/shop/tax.py b/shop/tax.py
--- a/shop/tax.py
+++ b/shop/tax.py
@@ -10,4 +10,4 @@ def vat(country: str) -> Decimal:
     rates = load_rates()
-    return rates[country]
+    return rates.get(country, DEFAULT_RATE)
"""

REQUESTS: list[dict[str, Any]] = [
    {
        "agent": "Refunds",
        "action": "issue_refund",
        "subject": "Order 8821, Chidi Okafor",
        "risk": "high",
        "risk_reason": "Money leaves the account and cannot be called back.",
        "summary": ["The parcel was lost in transit; the carrier has confirmed it.", "Third refund of this customer."],
        "arguments": {
            "order_id": "8821",
            "amount": 240.5,
            "currency": "EUR",
            "reason": "Parcel lost in transit, confirmed by the carrier on 18 November.",
            "notify_customer": True,
        },
        "arguments_schema": {
            "type": "object",
            "properties": {
                "order_id": {"type": "string"},
                "amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 500, "description": "At most 500."},
                "currency": {"type": "string", "enum": ["EUR", "USD", "GBP"]},
                "reason": {"type": "string"},
                "notify_customer": {"type": "boolean"},
            },
            "required": ["order_id", "amount", "currency"],
            "additionalProperties": False,
        },
        "context": {"customer": "cus_4417", "customer_since": "2019-03-02", "refunds_this_year": 2},
        "expires_in": 3 * 3600,
    },
    {
        "agent": "Support",
        "action": "send_email",
        "subject": "Reply to Ms Okafor",
        "risk": "medium",
        "risk_reason": "Goes to a customer.",
        "summary": ["Tells the customer that a replacement is on its way."],
        "arguments": {"to": "c.okafor@example.com", "subject": "Your order 8821", "body": MAIL},
    },
    {
        "agent": "Release bot",
        "action": "merge_change",
        "subject": "shop#412: default VAT rate",
        "risk": "critical",
        "risk_reason": "Changes what every customer pays.",
        "summary": ["A country without a rate got an error; now it gets the default rate."],
        "arguments": {
            "repository": "lindenhof/shop",
            "patch": PATCH,
            "command": "git merge --squash fix-vat\ngit push origin main",
            "scheduled_at": "2026-11-20T16:30:00Z",
        },
    },
    {
        "agent": "Purchasing",
        "action": "place_order",
        "subject": "Restock, supplier Nordlicht",
        "risk": "low",
        "summary": ["Stock of three articles is below a week's sales."],
        "arguments": {
            "supplier": "Nordlicht GmbH",
            "total_cents": 128400,
            "currency": "EUR",
            "lines": [
                {"article": "Desk lamp Polar", "quantity": 20, "price": 31.9},
                {"article": "Desk lamp Kiruna", "quantity": 12, "price": 42.5},
                {"article": "Bulb E27 warm", "quantity": 60, "price": 2.27},
            ],
        },
    },
    {
        "agent": "Refunds",
        "action": "issue_refund",
        "subject": "Order 8790, Mei Tanaka",
        "risk": "medium",
        "summary": ["The lamp arrived with a broken shade."],
        "arguments": {"order_id": "8790", "amount": 59, "currency": "EUR", "reason": "Broken shade, photo attached."},
    },
]


class Agent:
    """An agent that asks over HTTP.

    Args:
        gate: The gate.
        name: The agent's name.
    """

    def __init__(self, gate: RunningGate, name: str = "shop") -> None:
        self._url = gate.url
        self._headers = {"Authorization": f"Bearer {gate.agent_key(name)}"}

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """A call of the gate's API."""
        return httpx.request(method, self._url + path, json=body, headers=self._headers, timeout=30)

    def ask(self, **fields: Any) -> dict[str, Any]:
        """Ask for a decision, in a task of its own; the answer."""
        about = {
            "agent_id": "shop",
            "framework_origin": "CustomAPI",
            "task_name": (fields.get("subject") or "task")[:99],
        }
        task = self.call("POST", "/v1/tasks", about).raise_for_status().json()["task_id"]
        body = {"task_id": task, "agent_id": "shop", **fields}
        decision: dict[str, Any] = self.call("POST", "/v1/gate/decision", body).raise_for_status().json()
        return decision

    def status(self, decision: dict[str, Any]) -> dict[str, Any]:
        """The decision as the agent sees it."""
        found: dict[str, Any] = self.call("GET", f"/v1/gate/decision/{decision['decision_id']}").json()
        return found

    def take(self, decision: dict[str, Any]) -> httpx.Response:
        """Take the permission."""
        body = {"action_digest": decision["action_digest"]}
        return self.call("POST", f"/v1/gate/decision/{decision['decision_id']}/consume", body)


def fill(gate: RunningGate) -> list[dict[str, Any]]:
    """Let the shop's agents ask for everything; the decisions."""
    gate.service.add_rule(tool="issue_refund", parameter="amount", type="upper_limit", value=50, outcome="review")
    agent = Agent(gate)
    return [agent.ask(**each) for each in REQUESTS]


def week(gate: RunningGate, clock: ManualClock) -> None:
    """Let the clock run a week ahead, in which the shop's agents ask and people decide, less at the weekend."""
    refunds = {"tool": "issue_refund", "parameter": "amount", "type": "lower_limit", "value": 80}
    orders = {"tool": "place_order", "parameter": "total_cents", "type": "upper_limit", "value": 400_000}
    gate.service.add_rule(**refunds, outcome="allow")
    gate.service.add_rule(**orders, outcome="reject")
    chance = random.Random(8821)
    waiting: list[tuple[datetime, str]] = []
    end = clock.now() + timedelta(days=6, hours=15)
    with _client(gate, gate.reviewer_token("bob")) as reviewer, _client(gate, gate.agent_key("shop")) as agent:
        while clock.now() < end:
            slow = clock.now().weekday() >= 5 or not 7 <= clock.now().hour < 20
            clock.advance(timedelta(minutes=chance.expovariate(1 / (150 if slow else 35))))
            for due in sorted(each for each in waiting if each[0] <= clock.now()):
                waiting.remove(due)
                outcome = chance.choices(("approve", "reject", "revise"), (80, 12, 8))[0]
                body = {"outcome": outcome, "message": None if outcome == "approve" else "See the note."}
                reviewer.post(f"/v1/reviews/{due[1]}/decide", json=body).raise_for_status()
            answer = agent.post("/api/agent/tasks/shop/requests", json=_usual(chance)).raise_for_status().json()
            if answer["status"] == "pending_review":
                minutes = chance.lognormvariate(2.6 + 1.2 * slow, 1.2)
                waiting.append((clock.now() + timedelta(minutes=minutes), answer["decision_id"]))


def _usual(chance: random.Random) -> dict[str, Any]:
    """What some agent of the shop asks for."""
    asked = chance.choices(REQUESTS, (30, 25, 8, 20, 25))[0]
    payload = dict(asked["arguments"])
    if "amount" in payload:
        payload["amount"] = chance.randint(5, 240)
    if "total_cents" in payload:
        payload["total_cents"] = chance.randint(10_000, 600_000)
    about = {"subject": asked["subject"], "summary": asked["summary"], "risk_level": asked["risk"]}
    return {**about, "workflow_name": asked["agent"], "tool_name": asked["action"], "payload": payload}


def _client(gate: RunningGate, secret: str) -> httpx.Client:
    return httpx.Client(base_url=gate.url, headers={"Authorization": f"Bearer {secret}"}, timeout=30)
