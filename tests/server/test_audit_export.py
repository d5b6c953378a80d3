"""The exported trail: verified on the file alone; any change is found and named."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from stacksona_adapters.audit import Audited, main, verify_file
from stacksona_adapters.errors import ConfigurationError
from tests.server.conftest import World, ask, consume, decide


@pytest.fixture
def trail(world: World, tmp_path: Path) -> Path:
    """An export of three tasks, one of them with a signed checkpoint in its middle."""
    agent, reviewer = world.agent(), world.reviewer()
    for amount in (100, 200.5):
        assert consume(agent, decide(reviewer, ask(agent, amount, summary=["Zo\u00eb \U0001f600"]))).status_code == 200
    world.service.checkpoint()
    decide(reviewer, ask(agent, 300), "reject", message="no")
    return export(world, tmp_path)


def export(world: World, directory: Path, **scope: Any) -> Path:
    """Export to a file."""
    file = directory / "trail.jsonl"
    file.write_bytes(b"".join(world.service.export_audit("ann", **scope)))
    return file


def test_an_export_holds(world: World, trail: Path) -> None:
    """Records, checkpoints and signatures verify, with the gate's key and without."""
    found = verify_file(trail, world.service.audit_key)

    assert found.ok, found
    assert (found.chains, found.checkpoints) == (4, 2)
    assert found.public_key == world.service.audit_key
    assert verify_file(trail).ok
    assert world.service.verify_audit().ok


def test_an_export_is_recorded(world: World, trail: Path) -> None:
    """Who exported what stands in a signed checkpoint."""
    lines = [json.loads(line) for line in trail.read_bytes().splitlines()]
    notes = [json.loads(line["statement"])["note"] for line in lines if line["type"] == "checkpoint"]
    assert notes[-1] == {"export": {"by": "ann", "agent": None, "task": None}}


def test_any_changed_byte_is_found(world: World, trail: Path, tmp_path: Path) -> None:
    """Whatever byte is another one, the export does not hold."""
    whole = trail.read_bytes()
    broken = tmp_path / "broken.jsonl"
    step = max(1, len(whole) // 400)
    places = [*range(0, len(whole), step), *range(len(whole) - 260, len(whole))]
    for place in places:
        for turned in (0x01, 0x20):
            changed = bytearray(whole)
            changed[place] ^= turned
            broken.write_bytes(changed)
            assert not verify_file(broken, world.service.audit_key).ok, (place, turned)


def lines_of(trail: Path) -> list[bytes]:
    """The lines of a file."""
    return trail.read_bytes().splitlines(keepends=True)


def check(trail: Path, lines: list[bytes]) -> Audited:
    """Check changed lines."""
    file = trail.with_name("changed.jsonl")
    file.write_bytes(b"".join(lines))
    return verify_file(file)


def test_what_is_wrong_is_named(trail: Path) -> None:
    """Changed, removed, reordered and inserted records are found where they are."""
    lines = lines_of(trail)
    ours = (b'"agent":"refund-bot"', b'"type":"record"')
    first = next(number for number, line in enumerate(lines) if all(part in line for part in ours))
    record = json.loads(lines[first + 1])
    changed = lines[first + 1].replace(b'"kind":"', b'"kind":"x')

    assert (check(trail, [*lines[: first + 1], changed, *lines[first + 2 :]]).seq) == 2
    removed = check(trail, [*lines[: first + 1], *lines[first + 2 :]])
    assert (removed.seq, removed.task_id) == (2, record["task"])
    assert "missing, or out of place" in (removed.broken or "")
    swapped = check(trail, [*lines[:first], lines[first + 1], lines[first], *lines[first + 2 :]])
    assert (swapped.line, swapped.seq) == (first + 1, 1)
    assert not check(trail, [*lines[: first + 1], lines[first], *lines[first + 1 :]]).ok
    assert not check(trail, [lines[0], *lines[2:]]).ok
    assert check(trail, lines[:-1]).broken == "the end is missing"
    assert check(trail, [*lines, b"\n"]).broken == "there is something after the end"
    assert check(trail, []).broken == "the end is missing"
    assert not check(trail, [b"\xff\n"]).ok


def test_a_forger_with_another_key_is_found(world: World, trail: Path) -> None:
    """Records removed and everything signed anew holds by itself, and is not the gate's."""
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    found = verify_file(trail, other)

    assert found.broken == "it is signed with another key than yours"


def test_a_scope(world: World, trail: Path, tmp_path: Path) -> None:
    """One task alone verifies too: the heads of others are not missing."""
    task = json.loads(lines_of(trail)[-2])["task"]
    found = verify_file(export(world, tmp_path, task_id=task), world.service.audit_key)

    assert found.ok
    assert found.chains == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM records WHERE task_id = :task",
        "DELETE FROM records WHERE task_id = :task AND seq = (SELECT max(seq) FROM records WHERE task_id = :task)",
    ],
)
def test_the_database_against_its_checkpoints(world: World, trail: Path, statement: str) -> None:
    """A chain that loses its end, or vanishes with its task, is found by the signed heads."""
    task = json.loads(lines_of(trail)[-2])["task"]
    head = "SELECT seq, hash FROM records WHERE task_id = :task ORDER BY seq DESC"
    with world.service.backend.writer.begin() as connection:
        connection.execute(text("DELETE FROM notes"))
        connection.execute(text("DELETE FROM deliveries"))
        connection.execute(text("DELETE FROM decisions WHERE task_id = :task"), {"task": task})
        connection.execute(text(statement), {"task": task})
        left = connection.execute(text(head), {"task": task}).first()
        if left is None:
            connection.execute(text("DELETE FROM tasks WHERE task_id = :task"), {"task": task})
        else:
            values = {"task": task, "seq": left.seq, "hash": left.hash}
            connection.execute(
                text("UPDATE tasks SET head_seq = :seq, head_hash = :hash WHERE task_id = :task"), values
            )

    found = world.service.verify_audit()

    assert found.task_id == task
    assert "signed checkpoint" in (found.broken or "")


def test_checkpoints_are_made_by_themselves(start: Callable[..., World]) -> None:
    """A gate signs the chains that have grown, and only those."""
    world = start(checkpoint_interval=0.05)
    ask(world.agent())
    for _ in range(200):
        if world.service.checkpoint() == 0:
            break
    assert world.service.checkpoint() == 0
    assert world.service.verify_audit().ok


def test_a_key_from_a_file(start: Callable[..., World], tmp_path: Path) -> None:
    """The operator's own key signs; a file that is none is a clear mistake."""
    seed = b"7" * 32
    file = tmp_path / "audit.key"
    file.write_text(base64.b64encode(seed).decode())
    world = start(audit_key_file=file)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw().hex()
    ask(world.agent())

    assert verify_file(export(world, tmp_path), public).ok
    file.write_text("short")
    with pytest.raises(ConfigurationError, match="audit key"):
        start(audit_key_file=file)


def test_the_command_needs_only_the_core(trail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m stacksona_adapters.audit FILE` imports no server, and its exit code says the result."""
    gone = "import sys; sys.modules.update(dict.fromkeys(('fastapi', 'sqlalchemy', 'typer', 'cryptography')))"
    run = "import runpy; runpy.run_module('stacksona_adapters.audit', run_name='__main__')"
    code = "; ".join([gone, f"sys.argv = ['audit', {str(trail)!r}]", run])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "holds" in done.stdout

    trail.write_bytes(trail.read_bytes()[:-1])
    assert main([str(trail)]) == 1
    assert "does not hold" in capsys.readouterr().err
    assert main([str(trail) + ".none"]) == 1
