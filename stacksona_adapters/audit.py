"""Verifies an exported audit trail on any machine: needs this package's core only, no gate and no network.

    python -m stacksona_adapters.audit trail.jsonl --key 4f2a...

The gate's own command, `stacksona audit verify FILE`, does the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stacksona_adapters.errors import InvalidAction
from stacksona_adapters.protocol.canonical import canonical_json
from stacksona_adapters.protocol.chain import (
    CHECKPOINT_CONTEXT,
    EXPORT_CONTEXT,
    EXPORT_FORMAT,
    GENESIS,
    record_hash,
)
from stacksona_adapters.protocol.ed25519 import verify as genuine

__all__ = ["Audited", "verify_file", "verify_records"]

_CHANGED = "the record was changed: its hash does not fit what it says and the record before it"


@dataclass(frozen=True)
class Audited:
    """What the check of an export found.

    Attributes:
        records: How many records were checked.
        chains: How many chains: that of each task, and the gate's own.
        checkpoints: How many signed checkpoints.
        public_key: The key that signed, in hex: compare it with the one that the gate's operator gave you.
        exported_at: When the gate made the export.
        broken: What is wrong, `None` where everything holds.
        line: The line of the file.
        task_id: The task of the broken record.
        seq: Its number in the task's chain.
    """

    records: int = 0
    chains: int = 0
    checkpoints: int = 0
    public_key: str | None = None
    exported_at: str | None = None
    broken: str | None = None
    line: int | None = None
    task_id: str | None = None
    seq: int | None = None

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return self.broken is None


class _Broken(Exception):
    def __init__(self, why: str, task: str | None = None, seq: int | None = None) -> None:
        super().__init__(why)
        self.task = task
        self.seq = seq


@dataclass
class _Check:
    """The state of the check, line after line."""

    key: str | None
    header: dict[str, Any] = field(default_factory=dict)
    whole: Any = field(default_factory=hashlib.sha256)
    lines: int = 0
    records: int = 0
    checkpoints: int = 0
    last_checkpoint: str = GENESIS
    heads: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    chains: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    ended: bool = False

    def take(self, raw: bytes) -> None:
        """Check one line and go on."""
        if self.ended:
            raise _Broken("there is something after the end")
        line = _canonical_line(raw)
        kind = line.get("type")
        if (kind == "header") != (self.lines == 0):
            raise _Broken("the header is missing or out of place")
        if kind == "end":
            self._end(line)
            return
        read = {"header": self._header, "checkpoint": self._checkpoint, "record": self._record}.get(str(kind))
        if read is None:
            raise _Broken(f"unknown kind of line {kind!r:.40}")
        read(line)
        self.whole.update(raw)
        self.lines += 1

    def _header(self, line: dict[str, Any]) -> None:
        if line.get("format") != EXPORT_FORMAT:
            raise _Broken(f"the format is {line.get('format')!r:.40}, not {EXPORT_FORMAT}")
        if self.key is not None and line.get("public_key") != self.key:
            raise _Broken("it is signed with another key than yours")
        self.header = line

    def _checkpoint(self, line: dict[str, Any]) -> None:
        if self.records:
            raise _Broken("a checkpoint is out of place")
        statement, number = str(line["statement"]).encode(), self.checkpoints + 1
        said = json.loads(statement)
        if (said["seq"], said["prev"]) != (number, self.last_checkpoint):
            raise _Broken(f"checkpoint {number} is missing or out of place")
        if not self._signed(CHECKPOINT_CONTEXT + statement, line["signature"]):
            raise _Broken(f"the signature of checkpoint {number} is not the gate's")
        self.last_checkpoint = "sha256:" + hashlib.sha256(statement).hexdigest()
        self.checkpoints = number
        for agent, task, seq, head in said["heads"]:
            self.heads[agent, task] = (seq, head)
        for agent, task, _, _ in said["pruned"]:
            self.heads.pop((agent, task), None)

    def _record(self, line: dict[str, Any]) -> None:
        chain, seq, task = (line["agent"], line["task"]), line["seq"], line["task"]
        before, prev = self.chains.get(chain, (0, GENESIS))
        if seq != before + 1:
            raise _Broken("the record is missing, or out of place", task, before + 1)
        made = record_hash(prev, seq, task, line["at"], line["kind"], line["payload"])
        if made != line["hash"]:
            raise _Broken(_CHANGED, task, seq)
        if self.heads.get(chain, (0, ""))[0] == seq and self.heads[chain][1] != made:
            raise _Broken("a signed checkpoint says otherwise", task, seq)
        self.chains[chain] = (seq, made)
        self.records += 1

    def _end(self, line: dict[str, Any]) -> None:
        digest = self.whole.digest()
        if (line["lines"], line["sha256"]) != (self.lines, digest.hex()):
            raise _Broken("lines were changed, removed or put in: their sum is another")
        if not self._signed(EXPORT_CONTEXT + digest, line["signature"]):
            raise _Broken("the signature of the export is not the gate's")
        for (agent, task), (seq, _) in self.heads.items():
            if self._in_scope(agent, task) and self.chains.get((agent, task), (0, ""))[0] < seq:
                raise _Broken("a signed checkpoint names records that are missing", task, seq)
        self.ended = True

    def _in_scope(self, agent: str, task: str) -> bool:
        return self.header["agent"] in (None, agent) and self.header["task"] in (None, task)

    def _signed(self, message: bytes, signature: str) -> bool:
        key, given = bytes.fromhex(self.header["public_key"]), bytes.fromhex(signature)
        return given.hex() == signature and genuine(key, message, given)


def _canonical_line(raw: bytes) -> dict[str, Any]:
    try:
        line = json.loads(raw)
        exact = canonical_json(line) + b"\n"
    except (ValueError, InvalidAction, RecursionError) as error:
        raise _Broken("the line is not canonical JSON") from error
    if not isinstance(line, dict) or exact != raw:
        raise _Broken("the line is not canonical JSON")
    return line


def verify_file(path: str | Path, public_key: str | None = None) -> Audited:
    """Check an export of `stacksona audit export`: every hash, every signature, nothing missing, nothing put in.

    Args:
        path: The file.
        public_key: The gate's public key in hex (`stacksona audit key`). Without it, compare the result's key yourself:
            whoever can forge records can also sign them with a key of their own.

    Returns:
        What was found; the first thing that is wrong is named.

    Raises:
        OSError: If the file cannot be read.
    """
    check = _Check(public_key)
    try:
        for raw in _lines(Path(path)):
            check.take(raw)
        if not check.ended:
            raise _Broken("the end is missing")
    except _Broken as broken:
        return _result(check, str(broken), broken.task, broken.seq)
    except (KeyError, TypeError, ValueError) as error:
        return _result(check, f"the line is not complete ({type(error).__name__})")
    return _result(check, None)


def verify_records(listed: list[Any]) -> tuple[int | None, str | None]:
    """Check the records of one exported thread (the gate's `GET /v1/reviews/{decision_id}/export`).

    Args:
        listed: The export's `records`.

    Returns:
        The number of the first broken record and what is wrong with it; twice `None` where all of them hold.
    """
    prev, task = GENESIS, None
    for position, record in enumerate(listed, 1):
        try:
            payload = canonical_json(record["payload"]).decode()
            said = (record["seq"], record["task"], record["at"], record["kind"])
            made = record_hash(prev, *said, payload)
            given = (record["seq"], record["prev"], record["hash"])
        except (KeyError, TypeError, InvalidAction):
            return position, "the record is not complete"
        if given[0] != position or (task is not None and record["task"] != task):
            return position, "the record is missing, or out of place"
        if given[1:] != (prev, made):
            return position, _CHANGED
        prev, task = made, record["task"]
    return None, None


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _result(check: _Check, broken: str | None, task: str | None = None, seq: int | None = None) -> Audited:
    header = check.header
    return Audited(
        records=check.records,
        chains=len(check.chains),
        checkpoints=check.checkpoints,
        public_key=header.get("public_key"),
        exported_at=header.get("exported_at"),
        broken=broken,
        line=None if broken is None else check.lines + 1 + check.ended,
        task_id=task,
        seq=seq,
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; the exit code is 0 where everything holds, 1 where it does not, 2 for wrong use.

    Args:
        arguments: The command line's arguments.
    """
    parser = argparse.ArgumentParser(prog="python -m stacksona_adapters.audit", description="Verify an audit export.")
    parser.add_argument("file", type=Path, help="a file of `stacksona audit export`")
    parser.add_argument("--key", help="the gate's public key in hex (`stacksona audit key`)")
    given = parser.parse_args(arguments)
    try:
        found = verify_file(given.file, given.key)
    except OSError as error:
        sys.stderr.write(f"{given.file} cannot be read: {error.strerror or error}.\n")
        return 1
    said = describe(found, pinned=given.key is not None)
    (sys.stdout if found.ok else sys.stderr).write(f"{said}\n")
    return 0 if found.ok else 1


def describe(found: Audited, *, pinned: bool) -> str:
    """The result as a sentence.

    Args:
        found: The result.
        pinned: Whether the key was given by the auditor.
    """
    if found.broken is not None:
        where = [f"line {found.line}"]
        where += [f"task {found.task_id}"] if found.task_id is not None else []
        where += [f"record {found.seq}"] if found.seq is not None else []
        return f"The export does not hold ({', '.join(where)}): {found.broken}."
    counted = f"{found.records} records in {found.chains} chains, {found.checkpoints} signed checkpoints"
    whose = "your key" if pinned else f"key {found.public_key}: compare it with the gate's (`stacksona audit key`)"
    return f"The export of {found.exported_at} holds: {counted}, signed with {whose}."


if __name__ == "__main__":
    sys.exit(main())
