"""A webhook as a real gate delivers it, verified by the JavaScript library of Standard Webhooks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks import Webhook

from stacksona_adapters.testing import running_gate
from tests.browser.scene import Agent
from tests.interop.node import run_script
from tests.server.webhook_receiver import webhook_receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def delivered(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a receiver got: the secret that the gate printed, the headers, the body."""
    with running_gate(tmp_path, delivery_networks=("127.0.0.0/8",)) as gate, webhook_receiver() as receiver:
        made = gate.service.add_agent("shop", webhook=receiver.url)
        decision = Agent(gate).ask(action="issue_refund", subject="Bestellung 8821 für Zoë \U0001f4a1")
        gate.reviewer("ann").reject(decision["decision_id"], message="Beleg fehlt, ₣ 5, “später”")
        receiver.wait()
        headers, body = receiver.got[0]
        yield {"secret": made.webhook_secret, "headers": headers, "body": body.decode()}


def test_verified(delivered: dict[str, Any]) -> None:
    """The library takes it and gives the decision, letter for letter."""
    payload = run_script("webhook.js", delivered)["payload"]

    assert payload == json.loads(delivered["body"])
    assert payload["decision"] == "rejected"
    assert payload["message"] == "Beleg fehlt, ₣ 5, “später”"


def test_changed_byte(delivered: dict[str, Any]) -> None:
    """Any other body is refused, and any other id or time."""
    body = delivered["body"]
    headers = delivered["headers"]
    changed = [
        {**delivered, "body": body.replace("rejected", "rejectef")},
        {**delivered, "body": body + " "},
        {**delivered, "headers": {**headers, "webhook-id": headers["webhook-id"] + "x"}},
        {**delivered, "headers": {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}},
    ]

    for each in changed:
        assert run_script("webhook.js", each)["refused"] == "WebhookVerificationError"


def test_wrong_secret(delivered: dict[str, Any]) -> None:
    """A signature by another secret is refused."""
    other = {**delivered, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}

    assert run_script("webhook.js", other)["refused"] == "WebhookVerificationError"
    assert Webhook(delivered["secret"]).verify(delivered["body"], delivered["headers"])
