"""Which earlier decision a new proposal revises, read from what the model was told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from stacksona_adapters.protocol.decisions import Status

Call = TypeVar("Call")


def sent_back(results: Iterable[Any]) -> list[str]:
    """The decisions that asked for changes, in the order of the results.

    Args:
        results: Results that a model got, as `Refusal.as_dict()` or `Refusal.as_text()` wrote them; any other result
            is passed over.
    """
    found = (_refusal(result) for result in results)
    ids = [each.get("decision_id") for each in found if each.get("status") == Status.REVISE.value]
    return [decision_id for decision_id in ids if isinstance(decision_id, str)]


def revised_by(call: Call, calls: Sequence[Call], results: Iterable[Any]) -> str | None:
    """The decision that a call revises: of a turn's calls, the first one answers the first that was sent back.

    Args:
        call: The call.
        calls: All calls of the same tool in the same turn, in order.
        results: The results of the same tool in the turn before, in order.
    """
    place = next((number for number, each in enumerate(calls) if each == call), None)
    ids = sent_back(results)
    return ids[place] if place is not None and place < len(ids) else None


def _refusal(result: Any) -> Mapping[str, Any]:
    if isinstance(result, str) and result.startswith("{"):
        try:
            result = json.loads(result)
        except ValueError:
            return {}
    if isinstance(result, Mapping) and result.get("executed") is False:
        return result
    return {}
