"""Fail closed: whatever a gate answers, an action runs only on a decision that is about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stacksona_adapters import (
    ActionBlocked,
    ActionMismatch,
    AlreadyTaken,
    GateAuthenticationError,
    GateError,
    GateProtocolError,
    GateRequestRefused,
    GateUnavailable,
    OutcomeUnknown,
    StacksonaError,
    Timeouts,
)
from stacksona_adapters.client.gate import Gate
from tests.client.hostile import HostileGate, Reply, Seen, hostile_gate

QUICK = Timeouts(connect=1.0, read=0.4, write=1.0, total=1.2)
ZERO = "sha256:" + "0" * 64
Script = Callable[[Seen], Reply]


def decision(seen: Seen, **changes: Any) -> dict[str, Any]:
    """The answer that a good gate would give, with changes."""
    good = {
        "decision": "APPROVED",
        "status": "approved",
        "decision_id": "dec_1",
        "reviewer_id": "ann",
        "audit_hash": "h",
        "task_id": seen.body["task_id"],
        "action_digest": seen.body["action_digest"],
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


def lying(change: Callable[[Seen], Reply], consume: Reply | None = None) -> Script:
    """A gate that behaves but for its answer to the request (and to `consume`)."""

    def answer(seen: Seen) -> Reply:
        if seen.path == "/v1/tasks":
            return Reply(201, {"task_id": "task_1"})
        if seen.path == "/v1/gate/decision":
            return change(seen)
        if seen.path.endswith("/consume"):
            return consume or Reply(200, {"consumed_at": "2026-11-20T00:00:00Z", "audit_hash": "h"})
        return Reply(201, {"event_id": "e"})

    return answer


def run_refund(server: HostileGate, tmp_path: Path, *, asynchronous: bool) -> list[float]:
    """Run a gated refund once; what it did."""
    ran: list[float] = []
    with Gate("bot", url=server.url, api_key="sg_x", state_dir=tmp_path, timeouts=QUICK) as gate:
        if asynchronous:

            @gate.protect(subject="order")
            async def arefund(order: str, amount: float) -> None:
                ran.append(amount)

            call = lambda: asyncio.run(arefund("A1", 100.0))  # noqa: E731
        else:

            @gate.protect(subject="order")
            def refund(order: str, amount: float) -> None:
                ran.append(amount)

            call = lambda: refund("A1", 100.0)  # noqa: E731
        try:
            call()
        except StacksonaError as error:
            assert ran == []
            raise error from None
    return ran


both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@both
def test_the_control_runs(tmp_path: Path, asynchronous: bool) -> None:
    """With an honest answer the action runs: the tests below are not about a broken harness."""
    with hostile_gate(lying(lambda seen: Reply(200, decision(seen)))) as server:
        assert run_refund(server, tmp_path, asynchronous=asynchronous) == [100.0]
        assert len(server.calls("/consume")) == 1


LIES: dict[str, tuple[Script, type[StacksonaError]]] = {
    "another request's digest": (lambda s: Reply(200, decision(s, action_digest=ZERO)), GateProtocolError),
    "another task": (lambda s: Reply(200, decision(s, task_id="task_2")), GateProtocolError),
    "approved is a text": (lambda s: Reply(200, decision(s, approved="false")), GateProtocolError),
    "unknown status": (lambda s: Reply(200, decision(s, status="fine")), GateProtocolError),
    "unknown decision": (lambda s: Reply(200, decision(s, decision="OK")), GateProtocolError),
    "no decision": (lambda s: Reply(200, decision(s, decision=...)), GateProtocolError),
    "no id": (lambda s: Reply(200, decision(s, decision_id=...)), GateProtocolError),
    "only a word": (lambda s: Reply(200, {"decision": "APPROVED"}), GateProtocolError),
    "contradiction": (lambda s: Reply(200, decision(s, decision="DENIED")), ActionBlocked),
    "edit without digest": (
        lambda s: Reply(200, decision(s, arguments={"a": 1}, action_digest=...)),
        GateProtocolError,
    ),
    "edit with old digest": (lambda s: Reply(200, decision(s, arguments={"amount": 1})), GateProtocolError),
    "not JSON": (lambda s: Reply(200, raw=b"<html>APPROVED</html>"), GateProtocolError),
    "a list": (lambda s: Reply(200, [decision(s)]), GateProtocolError),
    "true": (lambda s: Reply(200, True), GateProtocolError),
    "empty": (lambda s: Reply(200, raw=b""), GateProtocolError),
    "no content": (lambda s: Reply(204, raw=b""), GateProtocolError),
    "redirect": (lambda s: Reply(307, decision(s), headers={"Location": "/v1/gate/decision"}), GateRequestRefused),
    "approved in a 500": (lambda s: Reply(500, decision(s)), GateUnavailable),
    "approved in a 404": (lambda s: Reply(404, decision(s)), GateRequestRefused),
    "401": (lambda s: Reply(401, {"title": "who are you"}), GateAuthenticationError),
    "dropped": (lambda s: Reply(drop=True), GateUnavailable),
    "too slow": (lambda s: Reply(hang=True), GateUnavailable),
    "other JSON types": (lambda s: Reply(200, decision(s, decision_id=1)), GateProtocolError),
}


@both
@pytest.mark.parametrize("name", LIES)
def test_a_lie_stops_the_action(tmp_path: Path, name: str, asynchronous: bool) -> None:
    """Answers about something else, odd words, missing ids, garbage, silence: nothing runs."""
    script, error = LIES[name]
    with hostile_gate(lying(script)) as server, pytest.raises(error, match="nothing ran|did not run"):
        run_refund(server, tmp_path, asynchronous=asynchronous)


TAKES: dict[str, tuple[Reply, type[StacksonaError]]] = {
    "taken, unknown": (Reply(409, {"outcome": "unknown"}), OutcomeUnknown),
    "taken, succeeded": (Reply(409, {"outcome": "succeeded"}), AlreadyTaken),
    "taken, nothing said": (Reply(409, raw=b"?"), AlreadyTaken),
    "expired": (Reply(410, {}), ActionBlocked),
    "digest": (Reply(422, {"detail": "digest"}), ActionMismatch),
    "not approved": (Reply(403, {}), ActionBlocked),
    "no such decision": (Reply(404, {}), GateProtocolError),
    "no such method": (Reply(405, {}), GateProtocolError),
    "500": (Reply(500, {"consumed_at": "now"}), GateUnavailable),
    "not JSON": (Reply(200, raw=b"ok"), GateProtocolError),
    "no time": (Reply(200, {"audit_hash": "h"}), GateProtocolError),
    "dropped": (Reply(drop=True), GateUnavailable),
}


@both
@pytest.mark.parametrize("name", TAKES)
def test_a_permission_that_cannot_be_taken_stops_the_action(tmp_path: Path, name: str, asynchronous: bool) -> None:
    """Approved is not enough: the permission must be taken, once, by the gate's own word."""
    reply, error = TAKES[name]
    script = lying(lambda seen: Reply(200, decision(seen)), consume=reply)
    with hostile_gate(script) as server, pytest.raises(error):
        run_refund(server, tmp_path, asynchronous=asynchronous)


@both
def test_no_gate_at_all(tmp_path: Path, asynchronous: bool) -> None:
    """A refused connection: the action does not run and the message says so."""
    with hostile_gate(lambda _: Reply()) as server:
        pass
    with pytest.raises(GateUnavailable, match="nothing ran"):
        run_refund(server, tmp_path, asynchronous=asynchronous)


def test_a_hosted_gate_with_the_given_fields_only(tmp_path: Path) -> None:
    """A gate without our extensions permits by its bare answer; this process alone keeps it at most once."""
    script = lying(lambda _: Reply(200, {"decision": "APPROVED", "reviewer_id": "ann", "audit_hash": "abc"}))
    ran: list[int] = []
    with hostile_gate(script) as server, Gate("bot", url=server.url, api_key="sg_x", state_dir=tmp_path) as gate:
        action = gate.action("refund", {"amount": 1}, run_id="r", call_id="c")
        with gate.permit(action):
            ran.append(1)
        with pytest.raises(AlreadyTaken), gate.permit(action):
            ran.append(2)

        assert ran == [1]
        assert server.calls("/consume") == []


def test_a_hosted_gate_with_ids_but_no_consume(tmp_path: Path) -> None:
    """Where `consume` is not served and no digest was echoed, it is a hosted gate: this process keeps the promise."""
    script = lying(lambda seen: Reply(200, decision(seen, action_digest=...)), consume=Reply(404, {}))
    with hostile_gate(script) as server:
        assert run_refund(server, tmp_path, asynchronous=False) == [100.0]


def test_retries_carry_one_key(tmp_path: Path) -> None:
    """A 503 and a dropped connection are tried again with the same idempotency key; then it runs once."""
    replies = [Reply(503, {}, headers={"Retry-After": "0"}), Reply(drop=True)]
    script = lying(lambda seen: replies.pop(0) if replies else Reply(200, decision(seen)))
    with hostile_gate(script) as server:
        assert run_refund(server, tmp_path, asynchronous=False) == [100.0]
        asked = server.calls("/v1/gate/decision")[:3]

    assert len({seen.headers["idempotency-key"] for seen in asked}) == 1
    assert len({seen.headers["stacksona-attempt"] for seen in asked}) == 1


def test_a_long_retry_after_is_not_waited_for(tmp_path: Path) -> None:
    """A gate that asks for more patience than the call has is unavailable now."""
    script = lying(lambda _: Reply(429, {}, headers={"Retry-After": "3600"}))
    with hostile_gate(script) as server, pytest.raises(GateUnavailable):
        run_refund(server, tmp_path, asynchronous=False)
    assert len(server.calls("/v1/gate/decision")) == 1


def test_a_refused_request_is_not_retried(tmp_path: Path) -> None:
    """A 422 is a mistake, not an outage; the message names the wrong field."""
    problem = {"title": "Invalid", "errors": [{"pointer": "/risk", "detail": "not a level"}]}
    script = lying(lambda _: Reply(422, problem))
    with hostile_gate(script) as server, pytest.raises(GateRequestRefused, match="/risk: not a level"):
        run_refund(server, tmp_path, asynchronous=False)
    assert len(server.calls("/v1/gate/decision")) == 1


def test_an_error_is_a_gate_error(tmp_path: Path) -> None:
    """One `except` clause catches everything that kept the gate from answering."""
    with hostile_gate(lying(lambda _: Reply(200, raw=b"\xff"))) as server, pytest.raises(GateError):
        run_refund(server, tmp_path, asynchronous=False)


def test_the_key_is_never_shown(tmp_path: Path) -> None:
    """Neither repr nor messages hold the key."""
    gate = Gate("bot", url="http://127.0.0.1:1", api_key="sg_very_secret", state_dir=tmp_path, timeouts=QUICK)
    with gate, pytest.raises(GateUnavailable) as caught:
        gate.request(gate.action("t", {}))
    assert "very_secret" not in str(caught.value) + repr(gate._core.settings)
