"""What happens at the same moment."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from tests.server.conftest import World, ask, decide, new_task, refund

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def at_once(count: int, act: Callable[[int], T]) -> list[T]:
    """Run `act` on that many threads that begin together."""
    barrier = threading.Barrier(count)

    def run(n: int) -> T:
        barrier.wait(30)
        return act(n)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def second_gate(world: World) -> str:
    """The URL of another gate on the same database, as another process would be."""
    from stacksona_adapters.server.run import EmbeddedGate

    return world.stack.enter_context(EmbeddedGate(world.settings)).url


def test_consume(world: World) -> None:
    """Twenty at once, on two gates: exactly one takes the permission."""
    agent = world.agent()
    decision = decide(world.reviewer(), ask(agent))
    urls, body = [world.url, second_gate(world)], {"action_digest": decision["action_digest"]}

    answers = at_once(20, lambda n: agent.post(f"{urls[n % 2]}/v1/gate/decision/{decision['id']}/consume", json=body))

    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 19}


def test_decide(world: World) -> None:
    """Opposite decisions at once, on two gates: one 200, and everybody else sees that one."""
    decision = ask(world.agent())
    reviewers, urls = [world.reviewer(f"r{n}") for n in range(8)], [world.url, second_gate(world)]

    def act(n: int) -> Any:
        body = {"outcome": ("approve", "reject", "revise")[n % 3]}
        return reviewers[n].post(f"{urls[n % 2]}/v1/reviews/{decision['id']}/decide", json=body)

    answers = at_once(8, act)

    won = [answer.json() for answer in answers if answer.status_code == 200]
    lost = [answer.json() for answer in answers if answer.status_code == 409]
    assert (len(won), len(lost)) == (1, 7)
    assert {problem["decided_by"] for problem in lost} == {won[0]["reviewer_id"]}
    assert {problem["decision_status"] for problem in lost} == {won[0]["status"]}


def test_idempotency_key(world: World) -> None:
    """The same key twenty times at once, on two gates: one decision, one answer."""
    agent = world.agent()
    body, urls = refund(new_task(agent)), [world.url, second_gate(world)]

    def act(n: int) -> Any:
        return agent.post(f"{urls[n % 2]}/v1/gate/decision", json=body, headers={"Idempotency-Key": "one"})

    answers = at_once(20, act)

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert Counter(answer.headers.get("idempotency-replayed") for answer in answers) == {None: 1, "true": 19}
    assert len(world.reviewer().get("/v1/reviews").json()["reviews"]) == 1


def test_cancel_and_decide(world: World) -> None:
    """Cancelling and approving at once: one of them wins, and the permission follows it."""
    agent, reviewer = world.agent(), world.reviewer()
    for _ in range(5):
        decision = ask(agent)
        cancel = f"/v1/gate/decision/{decision['id']}/cancel"
        calls = [
            lambda d=decision: reviewer.post(f"/v1/reviews/{d['id']}/decide", json={"outcome": "approve"}),
            lambda c=cancel: agent.post(c),
        ]
        decided, cancelled = at_once(2, lambda n, calls=calls: calls[n]())  # type: ignore[misc]

        assert cancelled.status_code == 200  # an approval that nobody took can be withdrawn
        assert decided.status_code in (200, 409)
        assert agent.get(f"/v1/gate/decision/{decision['id']}").json()["status"] == "cancelled"


def test_chain_of_one_task(world: World) -> None:
    """Events of one task from many threads and two gates form one unbroken chain."""
    agent = world.agent()
    urls = [world.url, second_gate(world)]
    body = {"event_type": "task.updated", "payload": {"n": 1}}

    answers = at_once(
        16, lambda n: [agent.post(f"{urls[n % 2]}/api/agent/tasks/t/events", json=body) for _ in range(5)]
    )

    assert {answer.status_code for several in answers for answer in several} == {201}
    found = world.service.verify_audit()
    assert found.ok
    assert found.records == 82  # the task, 80 events, and in the gate's own chain the key


def test_bad_neighbours(world: World) -> None:
    """A request that is refused leaves the others of the same commit alone."""
    agent = world.agent()
    task = new_task(agent)

    answers = at_once(20, lambda n: agent.post("/v1/gate/decision", json=refund(task if n % 2 else "missing", n)))

    assert Counter(answer.status_code for answer in answers) == {202: 10, 404: 10}
    assert world.service.verify_audit().records == 12  # the task, 10 requests, and the key
