"""`stacksona demo` as people run it: from anywhere, with nothing set up, twice at once, and interrupted."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from stacksona_adapters.client.reviewer import Reviewer
from stacksona_adapters.demo import frameworks
from stacksona_adapters.demo.refunds import load_refunds
from stacksona_adapters.errors import ConfigurationError
from tests.cli.tools import COMMAND, Done, command, environment

DECISION = re.compile(r"(dec_\w+) *$")


def lines_of(done: Done) -> list[str]:
    """The table's lines that begin a request."""
    return [line for line in done.out.splitlines() if line.strip().startswith("RF-")]


def demo(*arguments: object, env: dict[str, str], **options: object) -> Done:
    """The demonstration in plain Python, without a terminal."""
    return command("demo", "python", *arguments, env=env, **options)


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """An empty home, and temporary files where the test can see them."""
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    return {"HOME": str(home), "TMPDIR": str(temporary), "XDG_STATE_HOME": "", "XDG_DATA_HOME": ""}


def test_whole_file_with_a_scripted_reviewer(nowhere: dict[str, str], tmp_path: Path) -> None:
    """Every request is in the table with its decision, what ran is in the ledger, the chain holds, nothing is left."""
    done = demo(env=nowhere, cwd=tmp_path)
    lines = lines_of(done)

    assert done.code == 0, done.err
    assert "Standard input is no terminal" in done.out
    assert len(lines) == len(load_refunds())
    assert all(DECISION.search(line) for line in lines)
    for words in ("rule: amount", " reviewer ", "approved, edited", "reject ", "rejected", "approved, used"):
        assert any(words in line for line in lines), words
    paid = re.search(r"requests, (\d+) paid .* ledger has (\d+) entries\.\nThe audit chain holds", done.out)
    assert paid is not None
    assert paid[1] == paid[2] == str(sum("(receipt " in line for line in lines))
    assert not {"\x1b", "\u202e"} & set(done.out)
    assert list((tmp_path / "tmp").iterdir()) == list((tmp_path / "home").iterdir()) == []


def test_the_same_request_twice_is_paid_once(nowhere: dict[str, str]) -> None:
    """A customer's double click has one decision and one payment."""
    lines = [line for line in lines_of(demo("--decide", "approve", env=nowhere)) if " RF-1003 " in f" {line} "]
    decisions = {match[1] for line in lines if (match := DECISION.search(line))}

    assert len(lines) == 2
    assert len(decisions) == 1
    assert sorted("(receipt " in line for line in lines) == [False, True]


def test_rejecting_reviewer_and_own_file(nowhere: dict[str, str], tmp_path: Path) -> None:
    """What needs a person and is rejected does not run; a file of one's own works, also with fewer rows."""
    own = tmp_path / "own.csv"
    own.write_text(
        "id,order_id,customer,email,product,amount,currency,reason,requested_at\n"
        "A,O1,Ann,a@example.com,Cup,10,EUR,broken,2026-10-01T10:00:00Z\n"
        "B,O2,Bob,b@example.com,Bed,500,EUR,broken,2026-10-01T10:00:00Z\n"
        "C,O3,Cid,c@example.com,Car,5000,EUR,broken,2026-10-01T10:00:00Z\n"
    )

    done = demo("--decide", "reject", "--file", own, env=nowhere)
    fewer = demo("--decide", "reject", "--file", own, "--rows", 1, env=nowhere)
    own.write_text("nonsense\n")
    broken = demo("--file", own, env=nowhere)

    assert "3 requests, 1 paid (10.00 EUR)" in done.out
    assert "1 request, 1 paid" in fewer.out
    assert (broken.code, "has no column" in broken.err) == (1, True)
    assert demo("--rows", 0, env=nowhere).code == 2


def test_kept_files_can_be_served_and_verified(nowhere: dict[str, str]) -> None:
    """`--keep` leaves the gate's database and says where."""
    done = demo("--keep", "--rows", 11, "--decide", "mixed", env=nowhere)
    kept = re.search(r"stacksona serve --db (\S+)", done.out)

    assert kept is not None
    assert "holds" in command("audit", "verify", "--db", kept[1]).out
    with sqlite3.connect(kept[1]) as database:
        found = dict(database.execute("SELECT status, count(*) FROM decisions GROUP BY status").fetchall())
    assert found["revise"] == 1
    assert sum(found.values()) == 12  # the one that was sent back was proposed again


def test_two_at_the_same_time(nowhere: dict[str, str]) -> None:
    """Two demonstrations do not disturb each other."""
    both = [
        subprocess.Popen(
            [*COMMAND, "demo", "python", "--decide", "mixed"],
            env=environment(**nowhere),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        for _ in range(2)
    ]
    outputs = [process.communicate()[0] for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert all("The audit chain holds" in out for out in outputs)


def test_person_decides_and_interrupts(nowhere: dict[str, str], tmp_path: Path) -> None:
    """In a terminal a person decides; Ctrl-C withdraws the rest and leaves nothing behind."""
    import pty

    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "demo", "python"],
        env=environment(**nowhere),
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert process.stdout is not None
    said = ""
    while "In a second terminal" not in said:
        said += process.stdout.readline()
    url, token = re.search(r"STACKSONA_GATE_URL=(\S+) STACKSONA_REVIEWER_TOKEN=(\S+)", said).groups()  # type: ignore[union-attr]
    with Reviewer(url, token) as reviewer:
        pending = reviewer.waiting(20)
        reviewer.approve(pending[0].decision_id)
        process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    os.close(master)
    os.close(terminal)

    assert process.returncode == 130
    assert "Interrupted after" in out
    assert "(0 are left at the gate)" in out
    assert "The audit chain holds" in out
    assert "Traceback" not in out + err
    assert list((tmp_path / "tmp").iterdir()) == []


def test_unknown_and_missing_frameworks(nowhere: dict[str, str]) -> None:
    """A name that is none, and a framework that is not installed, each have their sentence."""
    unknown = command("demo", "cobol", env=nowhere)

    assert unknown.code == 1
    assert "knows" in unknown.err
    assert "python" in frameworks.offered()
    with pytest.raises(ConfigurationError, match="does not know"):
        frameworks.runner("")


def test_without_any_framework_plain_python_is_said(nowhere: dict[str, str]) -> None:
    """The default says which agent runs."""
    done = command("demo", "--rows", 2, "--decide", "approve", env=nowhere)
    chosen = frameworks.installed()

    assert f"An agent ({chosen})" in done.out
    assert ("No agent framework is installed" in done.out) == (chosen == frameworks.PLAIN)


def test_module_has_what_the_table_promises() -> None:
    """Every framework that is offered has a runner; importing the table imports none of them."""
    code = (
        "import sys; from stacksona_adapters.demo import frameworks; frameworks.offered();"
        "print([name for name in sys.modules if name in ('pydantic_ai', 'langgraph', 'crewai', 'llama_index')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
    assert set(frameworks.offered()) <= set(frameworks.KNOWN)
