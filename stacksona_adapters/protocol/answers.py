"""Reading a decision out of an answer of either dialect, and writing one. Strict: what is odd is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stacksona_adapters.errors import GateProtocolError
from stacksona_adapters.protocol.calls import validate
from stacksona_adapters.protocol.decisions import Decision, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS = {
    Status.ALLOW: "APPROVED",
    Status.APPROVED: "APPROVED",
    Status.PENDING_REVIEW: "PENDING",
    Status.REVISE: "REVISE",
    Status.REJECT: "DENIED",
    Status.REJECTED: "DENIED",
    Status.EXPIRED: "DENIED",
    Status.CANCELLED: "DENIED",
}
_STRICTNESS = ["APPROVED", "PENDING", "REVISE", "DENIED"]
_GIVEN = ("decision", "reviewer_id", "audit_hash")


def _refuse(why: str) -> GateProtocolError:
    return GateProtocolError(f"The gate's answer cannot be trusted ({why}); nothing ran.")


def read_status(value: Any) -> Status:
    """A status word, upper or lower case.

    Raises:
        GateProtocolError: If it is not one of the contract's words.
    """
    if isinstance(value, str) and value in (value.lower(), value.upper()):
        try:
            return Status(value.lower())
        except ValueError:
            pass
    raise _refuse(f"unknown status {value!r:.80}")


def _read_word(value: Any) -> str:
    if isinstance(value, str) and value in (value.lower(), value.upper()) and value.upper() in _STRICTNESS:
        return value.upper()
    raise _refuse(f"unknown decision {value!r:.80}")


def combine(word: str, status: Status | None, *, by_reviewer: bool) -> Status:
    """One status out of v1's `decision` word and the finer `status`; where they contradict, the stricter wins.

    Args:
        word: `APPROVED`, `PENDING`, `REVISE` or `DENIED`.
        status: The `status` field, if there was one.
        by_reviewer: Whether a reviewer is named (tells `approved` from `allow`).
    """
    if status is not None and _STRICTNESS.index(_WORDS[status]) >= _STRICTNESS.index(word):
        return status
    if word == "APPROVED":
        return Status.APPROVED if by_reviewer else Status.ALLOW
    if word == "DENIED":
        return Status.REJECTED if by_reviewer else Status.REJECT
    return Status.REVISE if word == "REVISE" else Status.PENDING_REVIEW


def read_v1(body: Mapping[str, Any]) -> Decision:
    """The decision in a v1 answer.

    An answer either carries our fields and then needs a decision id, or it is the bare given form and then needs all
    three given fields and must be final.

    Raises:
        GateProtocolError: For a missing field, an unknown word or a wrong type.
    """
    if "decision" not in body:
        raise _refuse("the field decision is missing")
    status = combine(
        _read_word(body["decision"]),
        read_status(body["status"]) if "status" in body else None,
        by_reviewer=bool(body.get("reviewer_id")),
    )
    _no_contradicting_flag(body, status)
    identity = _one_id(body)
    if identity is None:
        if not set(_GIVEN) <= set(body) or not body["audit_hash"] or set(body) & {"status", "task_id", "thread_id"}:
            raise _refuse("decision_id is missing")
        if not status.final:
            raise _refuse("a pending decision without decision_id")
    return validate(Decision, {**body, "status": status, "decision_id": identity})


def read_agent(body: Mapping[str, Any]) -> Decision:
    """The decision in an answer of the agent dialect.

    Raises:
        GateProtocolError: For a missing field, an unknown word or a wrong type.
    """
    for name in ("status", "thread_id"):
        if not isinstance(body.get(name), str) or not body[name]:
            raise _refuse(f"the field {name} is missing")
    status = read_status(body["status"])
    _no_contradicting_flag(body, status)
    return validate(Decision, {**body, "status": status, "decision_id": _one_id(body)})


def _one_id(body: Mapping[str, Any]) -> str | None:
    ids = {name: body[name] for name in ("decision_id", "id") if body.get(name) is not None}
    if any(not isinstance(value, str) or not value for value in ids.values()):
        raise _refuse("decision_id is not a text")
    if len(set(ids.values())) > 1:
        raise _refuse("id and decision_id differ")
    return next(iter(ids.values()), None)


def _no_contradicting_flag(body: Mapping[str, Any], status: Status) -> None:
    for name in ("approved", "allowed"):
        if name in body and body[name] is not True and status.executes:
            raise _refuse(f"{name} is {body[name]!r:.80}")


def write_v1(decision: Decision) -> dict[str, Any]:
    """The v1 answer of a decision: the given three fields, then ours."""
    fields = decision.model_dump(mode="json", exclude_none=True)
    given = {
        "decision": _WORDS[decision.status],
        "reviewer_id": decision.reviewer_id,
        "audit_hash": decision.audit_hash,
    }
    return {**given, **fields, "id": decision.decision_id}


def write_agent(decision: Decision) -> dict[str, Any]:
    """The agent dialect's answer of a decision."""
    return decision.model_dump(mode="json", exclude_none=True)
