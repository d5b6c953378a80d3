"""The command as a whole: help, version, exit codes, missing extras, doctor."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from stacksona_adapters.testing import RunningGate
from tests.cli.tools import Cli, command, environment

COMMANDS = [
    *("serve", "demo", "inbox", "show", "approve", "reject", "revise", "settle", "doctor"),
    *("agent add", "agent list", "agent revoke", "reviewer add", "reviewer list", "reviewer revoke"),
    *("rules list", "rules add", "rules remove", "rules load", "audit verify", "audit export"),
]

WITHOUT_TYPER = """
import importlib.metadata, sys
real = importlib.metadata.version
def version(name):
    if name.lower() in ("typer", "fastapi"):
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)
importlib.metadata.version = version
sys.modules["typer"] = None
from stacksona_adapters.cli import main
sys.argv = ["stacksona", "inbox"]
main()
"""


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_help(cli: Cli, words: str) -> None:
    """Help is on standard output, names every option, and is a success."""
    done = cli(*words.split(), "--help")

    assert (done.code, done.err) == (0, "")
    assert f"Usage: stacksona {words}" in done.out
    assert len(done.out.splitlines()) > 5


@pytest.mark.parametrize(
    "words", ["", "nonsense", "agent", "agent fly", "serve --port many", "show", "serve --port 99999"]
)
def test_wrong_use(cli: Cli, words: str) -> None:
    """Wrong use is exit code 2, said on standard error."""
    done = cli(*words.split())

    assert (done.code, done.out) == (2, "")
    assert "Usage: stacksona" in done.err


def test_version(cli: Cli) -> None:
    """The distribution's version."""
    assert cli("--version").out == f"stacksona-adapters {version('stacksona-adapters')}\n"


def test_installed_command_and_module_are_the_same() -> None:
    """`stacksona` and `python -m stacksona_adapters.cli` both exist."""
    script = Path(sys.executable).with_name("stacksona")

    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)

    assert done.stdout == command("--version").out


def test_without_the_server_extra() -> None:
    """One sentence that says what to install, and exit code 1."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TYPER], env=environment(), capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'stacksona-adapters[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_terminal_without_unicode(tmp_path: Path) -> None:
    """A terminal that cannot show a letter shows another one."""
    env = {"PYTHONIOENCODING": "ascii", "STACKSONA_DB": str(tmp_path / "gate.db")}

    assert command("agent", "add", "Zoë", env=env).code == 0
    assert "Zo?" in command("agent", "list", env=env).out


def test_doctor_where_nothing_is_set_up(cli: Cli, tmp_path: Path) -> None:
    """What is not set up is no problem."""
    done = cli("doctor", "--db", tmp_path / "gate.db")
    checks = {
        check["what"]: check["state"] for check in cli("doctor", "--db", tmp_path / "gate.db", "--json").json["checks"]
    }

    assert done.code == 0
    assert checks["extra server"] == "ok"
    assert (checks["database"], checks["gate"]) == ("absent", "absent")
    assert not (tmp_path / "gate.db").exists()


def test_doctor_at_a_running_gate(cli: Cli, stacksona_gate: RunningGate) -> None:
    """Good keys are good, wrong ones and a dead gate are problems, and the exit code says so."""
    token, key = stacksona_gate.reviewer_token(), stacksona_gate.agent_key()
    options = ("--db", stacksona_gate.database, "--url", stacksona_gate.url, "--json")

    def states(*more: str) -> tuple[int, dict[str, str]]:
        done = cli("doctor", *options, *more)
        checks = {check["what"]: check["state"] for check in done.json["checks"]}
        return done.code, {name: checks.get(name, "") for name in ("database", "gate", "agent key", "reviewer token")}

    good = states("--token", token, "--api-key", key)
    wrong = states("--token", key, "--api-key", "sg_wrong")
    stacksona_gate.stop()
    dead = states("--token", token)

    assert good == (0, {"database": "ok", "gate": "ok", "agent key": "ok", "reviewer token": "ok"})
    assert wrong == (1, {"database": "ok", "gate": "ok", "agent key": "problem", "reviewer token": "problem"})
    assert dead == (1, {"database": "ok", "gate": "problem", "agent key": "", "reviewer token": ""})


def test_doctor_reads_the_database_only_by_permission(cli: Cli, tmp_path: Path) -> None:
    """A file that is no database is a problem with a reason."""
    file = tmp_path / "notes.txt"
    file.write_text("notes" * 1000)

    done = cli("doctor", "--db", file)

    assert done.code == 1
    assert "database" in done.err
