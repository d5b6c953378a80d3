"""Waiting for a decision: long poll and stream, woken and not polled."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Queue
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from stacksona_adapters.protocol.sse import EventStreamParser, ServerSentEvent
from tests.server.conftest import World, ask, assert_problem, consume, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Stream:
    """A stream that is read on a thread."""

    def __init__(self, response: httpx.Response) -> None:
        self.events: Queue[ServerSentEvent | None] = Queue()
        self.parser = EventStreamParser()
        self.opened = threading.Event()
        self.comments = 0
        self._response = response
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for chunk in self._response.iter_bytes():
            self.comments += chunk.startswith(b":")
            for event in self.parser.feed(chunk):
                self.events.put(event)
            self.opened.set()
        self.events.put(None)

    def next(self) -> ServerSentEvent | None:
        """The next event; `None` when the stream has ended."""
        return self.events.get(timeout=30)

    def next_decision(self) -> dict[str, Any]:
        """The decision of the next event."""
        event = self.next()
        assert event is not None
        assert event.event == "decision"
        return json.loads(event.data)

    def join(self) -> None:
        """Wait until the stream has ended."""
        self._thread.join(30)
        assert not self._thread.is_alive()


@contextmanager
def streaming(world: World, key: str, last: str | None = None) -> Iterator[Stream]:
    """An open stream. The server ends it when the gate stops, the client when the block ends."""
    headers = {"Authorization": f"Bearer {key}", **({"Last-Event-ID": last} if last is not None else {})}
    with httpx.Client(timeout=60) as client:
        request = client.build_request("GET", f"{world.url}/v1/gate/decisions/stream", headers=headers)
        response = client.send(request, stream=True)
        assert response.headers["content-type"].startswith("text/event-stream")
        stream = Stream(response)
        assert stream.opened.wait(30)
        try:
            yield stream
        finally:
            world.server.stop()
            stream.join()


def test_long_poll_is_woken(world: World) -> None:
    """A long poll answers as soon as a reviewer decides (the gate's own polling is switched off here)."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = ask(agent)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.get, f"/v1/gate/decision/{decision['id']}?wait=60")
        decide(reviewer, decision)
        answer = waiting.result(timeout=30)

    assert answer.json()["status"] == "approved"


def test_long_poll_without_a_decision(world: World) -> None:
    """After its time the long poll answers that it is pending."""
    agent = world.agent()
    decision = ask(agent)

    assert agent.get(f"/v1/gate/decision/{decision['id']}?wait=0.05").status_code == 202


def test_long_poll_of_the_agent_dialect(world: World) -> None:
    """The agent dialect waits too."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = agent.post("/api/agent/tasks/t/requests", json={"tool_name": "x"}).json()
    query = {"thread_id": decision["thread_id"], "wait": "60"}

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.get, "/api/agent/decisions", params=query)
        decide(reviewer, decision, "reject")
        answer = waiting.result(timeout=30)

    assert answer.json()["status"] == "rejected"


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "x", ""])
def test_wrong_wait(world: World, wait: str) -> None:
    """`wait` is a number of seconds."""
    agent = world.agent()

    assert_problem(agent.get(f"/v1/gate/decision/{ask(agent)['id']}", params={"wait": wait}), 422)


def test_missed_wake_costs_one_poll(start: Callable[..., World]) -> None:
    """A change that nobody told of (on SQLite another process's) is found by the slow poll."""
    from stacksona_adapters.protocol.reviews import DecideRequest
    from stacksona_adapters.server.service import reviews

    world = start(poll_interval=0.05)
    agent = world.agent()
    world.reviewer("ann")
    decision = ask(agent)
    approve = DecideRequest(outcome="approve")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.get, f"/v1/gate/decision/{decision['id']}?wait=60")
        world.service.write(lambda w: reviews.decide(w, "ann", decision["id"], approve, decision["action_digest"]))
        answer = waiting.result(timeout=30)

    assert answer.json()["status"] == "approved"


def test_stream_of_every_change(world: World) -> None:
    """A stream tells of each change of this agent's decisions, and of no other's."""
    key, reviewer = world.service.add_agent("refund-bot").key, world.reviewer()
    agent, other = world.client(key), world.agent("other")

    with streaming(world, key) as stream:
        decision = ask(agent)
        ask(other)
        decide(reviewer, decision, message="fine")
        consume(agent, decision)
        seen = [stream.next_decision() for _ in range(3)]

    assert [body["decision_id"] for body in seen] == [decision["id"]] * 3
    assert seen[-1]["status"] == "approved"
    assert seen[-1]["outcome"] == "unknown"
    assert seen[-1]["message"] == "fine"


def test_stream_has_the_token(world: World) -> None:
    """The agent's own stream carries its approval token."""
    key, reviewer = world.service.add_agent("refund-bot", signed_approval=True).key, world.reviewer()
    agent = world.client(key)
    decision = ask(agent)

    with streaming(world, key) as stream:
        decide(reviewer, decision)
        body = stream.next_decision()
        assert consume(agent, decision, approval_token=body["approval_token"]).status_code == 200


def test_stream_resumes(world: World) -> None:
    """`Last-Event-ID` gives what was missed, in order, also across a restart of the gate."""
    key, reviewer = world.service.add_agent("refund-bot").key, world.reviewer()
    agent = world.client(key)
    first = ask(agent)
    with streaming(world, key) as stream:
        decide(reviewer, first)
        event = stream.next()
        assert event is not None
    world.server.start()
    agent, reviewer = (world.client(key), world.reviewer())
    missed = [ask(agent)["id"] for _ in range(3)]

    with streaming(world, key, event.id) as stream:
        seen = [stream.next_decision()["decision_id"] for _ in range(3)]

    assert seen == missed


def test_stream_without_a_cursor_begins_now(world: World) -> None:
    """A new stream has an id at once, so that it can be resumed before its first event."""
    key = world.service.add_agent("refund-bot").key
    agent = world.client(key)
    ask(agent)

    with streaming(world, key) as stream:
        assert int(stream.parser.last_event_id) == 1
        late = ask(agent)
        assert stream.next_decision()["decision_id"] == late["id"]


@pytest.mark.parametrize("last", ["x", "-1", "999999", "1" * 400])
def test_impossible_cursor(world: World, last: str) -> None:
    """A cursor that is not the gate's gets `reset`, with a cursor to go on from."""
    key = world.service.add_agent("refund-bot").key
    agent = world.client(key)
    ask(agent)

    with streaming(world, key, last) as stream:
        event = stream.next()
        assert event is not None
        assert (event.event, event.id) == ("reset", "1")
        late = ask(agent)
        assert stream.next_decision()["decision_id"] == late["id"]


def test_too_old_cursor(start: Callable[..., World]) -> None:
    """A cursor that is older than the history gets `reset`; the history is bounded."""
    from sqlalchemy import func, select

    from stacksona_adapters.server.service.decisions import note_change
    from stacksona_adapters.server.store.tables import changes

    world = start(history=10)
    key = world.service.add_agent("refund-bot").key
    decision = ask(world.client(key))

    def many(write: Any) -> None:
        for _ in range(1000):
            note_change(write, "refund-bot", decision["id"])

    world.service.write(many)

    kept = world.service.read(lambda r: r.connection.execute(select(func.count()).select_from(changes)).scalar())
    assert kept == 11
    with streaming(world, key, "5") as stream:
        event = stream.next()
        assert event is not None
        assert event.event == "reset"


def test_heartbeat(start: Callable[..., World]) -> None:
    """A quiet stream sends comments."""
    world = start(heartbeat=0.02)
    key = world.service.add_agent("refund-bot").key

    with streaming(world, key) as stream:
        pulse = threading.Event()
        while stream.comments < 3:
            pulse.wait(0.01)
        assert stream.events.empty()


def test_stream_needs_a_key(world: World) -> None:
    """401 without a key, 403 for a reviewer."""
    assert_problem(world.client().get("/v1/gate/decisions/stream"), 401)
    assert_problem(world.reviewer().get("/v1/gate/decisions/stream"), 403)


def test_revoked_key_ends_the_stream(start: Callable[..., World]) -> None:
    """A key that is revoked hears nothing more."""
    world = start(heartbeat=0.05)
    new = world.service.add_agent("refund-bot")

    with streaming(world, new.key) as stream:
        world.service.revoke_agent(new.key_id)
        assert stream.next() is None


def test_many_waits_of_one_stream(world: World) -> None:
    """Two hundred decisions made at once are all told."""
    key, reviewer = world.service.add_agent("refund-bot").key, world.reviewer()
    agent = world.client(key)
    task = ask(agent)["task_id"]
    body = {"task_id": task, "agent_id": "a", "action": "x"}

    with streaming(world, key) as stream, ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda _: agent.post("/v1/gate/decision", json=body).json(), range(200)))
        list(pool.map(lambda decision: decide(reviewer, decision), asked))
        final: set[str] = set()
        while len(final) < 200:
            told = stream.next_decision()
            if told["status"] == "approved":
                final.add(told["decision_id"])

    assert final == {decision["id"] for decision in asked}
