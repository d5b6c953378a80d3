"""A gate inside this process: shared between processes, taken over from dead ones, its keys kept private."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from stacksona_adapters import local
from stacksona_adapters.client.reviewer import Reviewer
from stacksona_adapters.errors import ConfigurationError, ReviewPending
from stacksona_adapters.local import Place, ProcessLock, local_gate, serving_or_joined

OTHER_PROCESS = """
import sys
from stacksona_adapters.local import local_gate
with local_gate(sys.argv[1], agent="bot", announce=lambda line: None, wait=0, state_dir=sys.argv[2]) as gate:
    asked = gate.request(gate.action("pay", {"amount": 1}, run_id="one", call_id="one"))
    print(asked.decision.id, gate._core.settings.url, flush=True)
    sys.stdin.read()
"""


def start(path: Path) -> tuple[subprocess.Popen[str], str, str]:
    """Another process with a local gate on the same file: itself, the decision that it made, its URL."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, str(path), str(path.parent / "state")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    decision, url = process.stdout.readline().split()
    return process, decision, url


def finish(process: subprocess.Popen[str]) -> None:
    """Let it end by itself."""
    process.communicate()
    assert process.returncode == 0


def token_beside(path: Path) -> str:
    """The reviewer's token that lies beside a local gate's file."""
    return json.loads(path.with_name(path.name + ".keys").read_text())["reviewers"][local.REVIEWER]["secret"]


def signs_in(line: str) -> bool:
    """Whether the announced link starts a session when its page's form is sent."""
    url, _, secret = line.rsplit(maxsplit=1)[-1].partition("#")
    answer = httpx.post(url, data={"secret": secret}, headers={"Sec-Fetch-Site": "same-origin"})
    return answer.status_code == 303 and answer.headers["location"] == "/inbox"


def test_first_minute(tmp_path: Path) -> None:
    """The link is announced once and signs in once; what was asked is still there in the next block."""
    lines: list[str] = []
    path = tmp_path / "deep" / "gate.db"
    with local_gate(path, agent="bot", announce=lines.append, wait=0, state_dir=tmp_path) as gate:
        with pytest.raises(ReviewPending) as pending:
            gate.authorize(gate.action("pay", {"amount": 7}))
        assert signs_in(lines[0])
        assert not signs_in(lines[0])
        with Reviewer(lines[0].split()[-1].split("/inbox")[0], token_beside(path)) as reviewer:
            reviewer.approve()

    with (
        local_gate(path, agent="bot", announce=lines.append, state_dir=tmp_path) as gate,
        gate.permit(pending.value.action) as permit,
    ):
        assert permit.decision.reviewer_id == local.REVIEWER
        assert signs_in(lines[1])

    assert len(lines) == 2


def test_default_announcement_goes_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output belongs to the program."""
    with local_gate(tmp_path / "gate.db", state_dir=tmp_path):
        pass

    out, err = capsys.readouterr()

    assert out == ""
    assert "http://127.0.0.1:" in err


def test_second_one_joins_in_the_same_process(tmp_path: Path) -> None:
    """Two blocks on one file are one gate and one agent."""
    lines: list[str] = []
    path = tmp_path / "gate.db"
    options = {"agent": "bot", "announce": lines.append, "wait": 0, "state_dir": tmp_path}
    with local_gate(path, **options) as first, local_gate(str(path), **options) as second:
        asked = first.request(first.action("pay", {"amount": 7}))
        again = second.request(asked.action)

    assert again.decision.id == asked.decision.id
    assert len(lines) == 1


def test_second_process_joins(tmp_path: Path) -> None:
    """Another process uses the gate of this one, with the same agent's key."""
    path = tmp_path / "gate.db"
    with local_gate(path, agent="bot", announce=lambda _: None, wait=0, state_dir=tmp_path) as gate:
        process, decision, url = start(path)
        mine = gate.request(gate.action("pay", {"amount": 1}, run_id="one", call_id="one"))
        finish(process)

    assert mine.decision.id == decision
    assert url == gate._core.settings.url


def test_next_one_takes_over_from_a_killed_owner(tmp_path: Path) -> None:
    """After kill -9 the next one serves the file, on the same port, with everything that was asked."""
    path = tmp_path / "gate.db"
    process, decision, url = start(path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")

    with local_gate(path, agent="bot", announce=lambda _: None, wait=0, state_dir=tmp_path) as gate:
        mine = gate.request(gate.action("pay", {"amount": 1}, run_id="one", call_id="one"))

    assert mine.decision.id == decision
    assert gate._core.settings.url == url


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "ended"])
def test_who_has_joined_takes_over(tmp_path: Path, kill: bool) -> None:
    """A process that waits at the gate of another one goes on when that one is killed or ends."""
    path, lines = tmp_path / "gate.db", []
    process, _, url = start(path)
    with local_gate(path, agent="bot", announce=lines.append, state_dir=tmp_path) as gate:
        asked = gate.request(gate.action("pay", {"amount": 2}))
        if kill:
            process.kill()
        process.communicate()
        until_answered(url)
        with Reviewer(
            url, json.loads((tmp_path / "gate.db.keys").read_text())["reviewers"]["reviewer"]["secret"]
        ) as anna:
            anna.approve(asked.decision.id)

        assert gate.wait(asked, 20).decision.status == "approved"
        assert lines == []


def until_answered(url: str) -> None:
    """Ask until somebody serves there."""
    deadline = time.monotonic() + 20
    while True:
        try:
            httpx.get(f"{url}/healthz").raise_for_status()
        except httpx.TransportError:
            assert time.monotonic() < deadline
        else:
            return


def test_taken_port_does_not_keep_the_next_one_from_serving(tmp_path: Path) -> None:
    """Where the dead owner's port belongs to somebody else by now, another port is taken."""
    place = Place(tmp_path / "gate.db")
    with local_gate(tmp_path / "other.db", announce=lambda _: None, state_dir=tmp_path) as stranger:
        taken = stranger._core.settings.url
        place.publish(taken)

        with local_gate(place.file, announce=lambda _: None, state_dir=tmp_path) as gate:
            assert gate._core.settings.url != taken


def test_owner_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """Where a process has the file and serves nothing, the error says so instead of a second gate being started."""
    place = Place(tmp_path / "gate.db")
    lock = ProcessLock(tmp_path / "gate.db.lock")
    assert lock.acquire()

    with pytest.raises(ConfigurationError, match="does not answer"), serving_or_joined(place, patience=0.1):
        pass
    lock.release()


def test_keys_are_private_and_follow_the_database(tmp_path: Path) -> None:
    """Only the owner reads the keys; a new database gets new ones; a revoked one is not replaced in silence."""
    path, kept = tmp_path / "gate.db", tmp_path / "gate.db.keys"

    def key() -> str:
        with local_gate(path, agent="bot", announce=lambda _: None, wait=0, state_dir=tmp_path) as gate:
            gate.request(gate.action("look", {}))
        return str(json.loads(kept.read_text())["agents"]["bot"]["secret"])

    first, second = key(), key()
    for each in tmp_path.glob("gate.db*"):
        if each != kept:
            each.unlink()
    third = key()
    with serving_or_joined(Place(path)) as served:
        served.service.revoke_agent("bot")

    assert first == second != third
    assert kept.stat().st_mode & 0o777 == 0o600 or os.name == "nt"
    with pytest.raises(ConfigurationError, match="was revoked"):
        key()


def test_postgresql_is_no_local_gate() -> None:
    """A URL of a server is refused with the reason."""
    with pytest.raises(ConfigurationError, match="one file"):
        Place("postgresql://localhost/gate")
