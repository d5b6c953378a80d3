"""The chain of records: any change of it is found and named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from stacksona_adapters.protocol.canonical import canonical_json
from stacksona_adapters.protocol.chain import canonical_value
from stacksona_adapters.server.service.errors import Invalid
from stacksona_adapters.server.service.records import canonical
from tests.server.conftest import World, ask, consume, decide


def history(world: World) -> list[dict[str, Any]]:
    """Two tasks with an approved and taken decision each."""
    agent, reviewer = world.agent(), world.reviewer()
    made = []
    for amount in (100, 1e20):
        decision = decide(reviewer, ask(agent, amount, summary=["Zahlung für Zoë \U0001f600"]))
        assert consume(agent, decision).status_code == 200
        made.append(decision)
    return made


def tamper(world: World, statement: str, **values: Any) -> None:
    """Change the database behind the gate's back."""
    with world.service.backend.writer.begin() as connection:
        assert connection.execute(text(statement), values).rowcount > 0


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text() | st.floats(-1e300, 1e300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, database=None)
@given(ANY)
@example(float(2**53))
def test_canonical_form(value: Any) -> None:
    """The quick way to canonical JSON gives what RFC 8785 says, and reading it back gives the same again."""
    text_form = canonical(value)

    assert text_form == canonical_json(value).decode()
    assert canonical(canonical_value(text_form)) == text_form


@pytest.mark.parametrize("value", ["\ud800", {"a\udfff": 1}, 2**53 + 1, float("nan"), [float("inf")]])
def test_without_canonical_form(value: Any) -> None:
    """What has no canonical form is refused."""
    with pytest.raises(Invalid):
        canonical(value)


def test_untouched(world: World) -> None:
    """A history that nobody touched verifies."""
    history(world)

    found = world.service.verify_audit()

    assert found.ok
    assert (found.chains, found.records) == (3, 10)  # the gate's own has the key and the token


def test_audit_hash_is_in_the_chain(world: World) -> None:
    """The answers' `audit_hash` are hashes of the chain's records."""
    decision = history(world)[0]

    timeline = world.reviewer().get(f"/v1/reviews/{decision['id']}").json()["timeline"]

    assert decision["audit_hash"] in [entry["audit_hash"] for entry in timeline]


TAMPERING = [
    ("UPDATE records SET payload = replace(payload, '100', '1000') WHERE task_id = :task AND seq = 2", 2, "changed"),
    ("UPDATE records SET at = '2020-01-01T00:00:00.000000Z' WHERE task_id = :task AND seq = 3", 3, "changed"),
    ("UPDATE records SET kind = 'decision.rejected' WHERE task_id = :task AND seq = 3", 3, "changed"),
    ("UPDATE records SET hash = 'sha256:0' WHERE task_id = :task AND seq = 1", 1, "changed"),
    ("DELETE FROM records WHERE task_id = :task AND seq = 2", 2, "missing"),
    ("DELETE FROM records WHERE task_id = :task AND seq = 4", 4, "should end"),
    ("DELETE FROM records WHERE task_id = :task", 1, "should end"),
    ("UPDATE records SET seq = 5 WHERE task_id = :task AND seq = 4", 4, "missing"),
    ("UPDATE decisions SET status = 'rejected' WHERE task_id = :task", 4, "not what the record says"),
    ("UPDATE decisions SET action_digest = 'sha256:0' WHERE task_id = :task", 4, "not what the record says"),
    ("UPDATE decisions SET audit_hash = 'sha256:0' WHERE task_id = :task", 0, "does not have"),
    ("DELETE FROM tasks WHERE task_id = :task", 1, "task that is missing"),
]


@pytest.mark.parametrize(("statement", "seq", "why"), TAMPERING)
def test_tampering(world: World, statement: str, seq: int, why: str) -> None:
    """Changing, removing or moving any record is found, and the first broken record named."""
    decision = history(world)[0]
    tamper(world, statement, task=decision["task_id"])

    found = world.service.verify_audit()

    assert not found.ok
    assert why in str(found.broken)
    assert (found.agent, found.task_id, found.seq) == ("refund-bot", decision["task_id"], seq)


def test_swapped_records(world: World) -> None:
    """Two records that change places are found."""
    task = history(world)[0]["task_id"]
    for move in ((2, 99), (3, 2), (99, 3)):
        tamper(
            world,
            "UPDATE records SET seq = :new WHERE task_id = :task AND seq = :old",
            task=task,
            old=move[0],
            new=move[1],
        )

    assert world.service.verify_audit().seq == 2


def test_record_of_another_task(world: World) -> None:
    """A record does not fit into another task's chain."""
    one, two = (decision["task_id"] for decision in history(world))
    tamper(world, "DELETE FROM records WHERE task_id = :task AND seq = 4", task=one)
    tamper(world, "UPDATE records SET task_id = :one WHERE task_id = :two AND seq = 4", one=one, two=two)

    assert world.service.verify_audit().task_id in (one, two)
