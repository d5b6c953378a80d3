"""The audit chain: how a record is hashed, so that gate and auditor agree."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from stacksona_adapters.protocol.canonical import canonical_json

GENESIS = ""
"""The `prev` of a task's first record, and of the first checkpoint."""


def record_hash(prev: str, seq: int, task: str, at: str, kind: str, payload: str) -> str:
    """The hash of a record: SHA-256 over the canonical JSON of all that it says.

    Args:
        prev: The hash of the record before it.
        seq: Its number in the task's chain, from 1.
        task: The task's id.
        at: When, as RFC 3339 text.
        kind: What happened.
        payload: Canonical JSON.
    """
    # The names in canonical order, so that the payload need not be parsed again.
    head = canonical_json({"at": at, "kind": kind}).decode()[:-1]
    tail = canonical_json({"prev": prev, "seq": seq, "task": task}).decode()[1:]
    return "sha256:" + hashlib.sha256(f'{head},"payload":{payload},{tail}'.encode()).hexdigest()


def canonical_value(text: str) -> Any:
    """The value of canonical JSON, in which a whole number beyond 2**53 was a float."""
    return json.loads(text, parse_int=_whole)


def _whole(digits: str) -> int | float:
    number = int(digits)
    return number if abs(number) < 2**53 else float(number)


CHECKPOINT_CONTEXT = b"stacksona-checkpoint-1\n"
"""Goes before a checkpoint's statement where it is signed, so that a signature is good for nothing else."""

EXPORT_CONTEXT = b"stacksona-export-1\n"
"""Goes before the SHA-256 of an export where it is signed."""

EXPORT_FORMAT = "stacksona-audit-1"
