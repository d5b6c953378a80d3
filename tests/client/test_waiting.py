"""Waiting: one stream for all, through outages, and slower where a gate lacks the stream."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stacksona_adapters import AsyncGate, Gate, GateAuthenticationError, GateProtocolError, Status, Timeouts
from stacksona_adapters.client.reviewer import Verdict
from stacksona_adapters.protocol.reviews import DecideRequest
from stacksona_adapters.server.service import keys, reviews
from stacksona_adapters.testing.gate import RunningGate, running_gate
from tests.client.hostile import Reply, Seen, hostile_gate

MANY = 2000


@pytest.fixture
def server() -> Iterator[RunningGate]:
    """A real gate without rules: everything waits for a person."""
    with running_gate() as gate:
        yield gate


async def _wait_for_many(gate: AsyncGate, server: RunningGate) -> list[Status]:
    actions = [gate.action("deploy", {"n": n}, run_id="r", call_id=str(n)) for n in range(MANY)]
    asked = await asyncio.gather(*(gate.request(action) for action in actions))
    waits = [asyncio.ensure_future(gate.wait(one)) for one in asked]
    await asyncio.sleep(0)
    reviewer = server.reviewer()

    def decide(part: list[Any]) -> None:
        for one in part:
            reviewer.approve(one.decision.id)

    await asyncio.to_thread(decide, asked[:20])
    await asyncio.to_thread(server.restart)
    await asyncio.to_thread(decide, asked[20:40])
    await asyncio.to_thread(server.service.write, lambda write: _approve_all(write, asked[40:]))
    return [one.decision.status for one in await asyncio.wait_for(asyncio.gather(*waits), 240)]


def _approve_all(write: Any, asked: list[Any]) -> None:
    keys.add_reviewer(write, "ann", by="operator")
    for one in asked:
        seen = one.decision.action_digest or ""
        reviews.decide(write, "ann", one.decision.id, DecideRequest(outcome="approve"), seen)


def test_two_thousand_waits_use_one_stream_and_survive_a_restart(server: RunningGate) -> None:
    """2,000 waits in one process: one stream at a time, and a restart of the gate in the middle loses none."""
    gate = server.gate("bot", timeouts=Timeouts(total=200)).aio  # 2,000 requests at once on a busy machine

    statuses = asyncio.run(_wait_for_many(gate, server))

    assert statuses == [Status.APPROVED] * MANY
    assert gate._core.wires.background().watcher.streams_opened <= 3  # one, and again after the restart


def test_sync_and_async_waits_share_the_stream(server: RunningGate) -> None:
    """Both faces of a gate wait on one stream."""
    gate = server.gate("bot")
    results: list[Status] = []
    action = gate.action("deploy", {"n": 1}, run_id="r", call_id="1")
    thread = threading.Thread(target=lambda: results.append(gate.authorize(action).decision.status))
    with server.reviewer().deciding(Verdict("approve")):
        thread.start()
        results.append(asyncio.run(gate.aio.authorize(gate.action("deploy", {"n": 2}))).decision.status)
        thread.join(20)

    assert results == [Status.APPROVED, Status.APPROVED]
    assert gate._core.wires.background().watcher.streams_opened == 1


def test_a_wait_outlives_an_outage(server: RunningGate) -> None:
    """The gate goes away while somebody waits, and comes back decided."""
    gate, reviewer = server.gate("bot"), server.reviewer()
    asked = gate.request(gate.action("deploy", {}))
    result: list[Status] = []
    thread = threading.Thread(target=lambda: result.append(gate.wait(asked).decision.status))
    thread.start()
    server.stop()
    server.start()
    reviewer.approve(asked.decision.id)
    thread.join(60)

    assert result == [Status.APPROVED]


class Slow:
    """A gate that lacks some of our extensions."""

    def __init__(self, *, stream: bool, long_poll: bool, polls_until_decided: int = 2, final: Any = None) -> None:
        self.stream = stream
        self.long_poll = long_poll
        self.left = polls_until_decided
        self.final = final or {}

    def __call__(self, seen: Seen) -> Reply:
        """The answer."""
        if seen.path == "/v1/tasks":
            return Reply(201, {"task_id": "task_1"})
        if seen.path.startswith("/v1/gate/decisions/stream"):
            return Reply(404, {"title": "Not Found"})
        if seen.path == "/v1/gate/decision":
            return Reply(202, self.body("PENDING", "pending_review"))
        if seen.method == "GET":
            self.left -= 1
            done = self.left <= 0
            if done:
                return Reply(200, {**self.body("APPROVED", "approved"), **self.final})
            return Reply(200, self.body("PENDING", "pending_review"))
        return Reply(201, {"event_id": "e"})

    @staticmethod
    def body(word: str, status: str) -> dict[str, Any]:
        """The decision."""
        return {"decision": word, "status": status, "decision_id": "dec_1", "reviewer_id": None, "audit_hash": "h"}


def test_a_gate_without_a_stream_is_polled(tmp_path: Path) -> None:
    """A 404 on the stream is remembered, and polling finds the decision."""
    with hostile_gate(Slow(stream=False, long_poll=False, polls_until_decided=3)) as server:
        with Gate("bot", url=server.url, api_key="sg_x", state_dir=tmp_path) as gate:
            assert gate.authorize(gate.action("deploy", {})).decision.status is Status.APPROVED
            server.answer = Slow(stream=False, long_poll=False, polls_until_decided=1)
            assert gate.authorize(gate.action("deploy", {})).decision.status is Status.APPROVED

        assert len(server.calls("/stream")) == 1
        assert len(server.calls("/dec_1")) == 4


@pytest.mark.parametrize(
    "lie",
    [
        {"decision_id": "dec_2"},
        {"status": "granted"},
        {"decision": "yes"},
        {"action_digest": "sha256:00"},
        {"task_id": "t2"},
    ],
)
def test_a_lie_while_waiting_stops_the_action(tmp_path: Path, lie: dict[str, Any]) -> None:
    """What comes later is read as strictly as the first answer."""
    script = Slow(stream=False, long_poll=False, final=lie)
    with hostile_gate(script) as server, Gate("bot", url=server.url, api_key="sg_x", state_dir=tmp_path) as gate:
        with pytest.raises(GateProtocolError), gate.permit(gate.action("deploy", {})):
            pytest.fail("it ran")


def test_a_lie_in_the_stream_stops_the_action(tmp_path: Path) -> None:
    """An event with another task's approval is refused, as is one about another digest."""
    event = {**Slow.body("APPROVED", "approved"), "action_digest": "sha256:" + "0" * 64}

    def answer(seen: Seen) -> Reply:
        if seen.path.startswith("/v1/gate/decisions/stream"):
            text = f"id: 1\nevent: decision\ndata: {json.dumps(event)}\n\n".encode()
            return Reply(200, raw=text, headers={"Content-Type": "text/event-stream"})
        if seen.method == "GET":
            return Reply(200, Slow.body("PENDING", "pending_review"))
        return Slow(stream=True, long_poll=True)(seen)

    with hostile_gate(answer) as server, Gate("bot", url=server.url, api_key="sg_x", state_dir=tmp_path) as gate:
        with pytest.raises(GateProtocolError, match="digest"), gate.permit(gate.action("deploy", {})):
            pytest.fail("it ran")


def test_a_revoked_key_ends_the_wait(server: RunningGate) -> None:
    """A key that is no longer good is told at once, not waited out."""
    key = server.agent_key("bot")
    gate = server.gate("bot", api_key=key)
    asked = gate.request(gate.action("deploy", {}))
    server.service.revoke_agent("bot")

    with pytest.raises(GateAuthenticationError, match="nothing ran"):
        gate.wait(asked)


def test_closing_ends_a_wait(server: RunningGate) -> None:
    """Closing a gate ends what waits on it: nothing runs, nothing hangs."""
    gate = server.gate("bot")
    asked = gate.request(gate.action("deploy", {}))
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            gate.wait(asked)
        except BaseException as error:  # noqa: BLE001 - whatever ends it is what the test looks at
            failures.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    server.reviewer().waiting()
    gate.close()
    thread.join(20)

    assert not thread.is_alive()
    assert len(failures) == 1
