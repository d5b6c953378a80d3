"""Commands that act on the gate's database: agents, reviewers, rules, audit."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from stacksona_adapters.testing import RunningGate
from tests.cli.tools import Cli


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A database that does not exist yet."""
    return tmp_path / "deep" / "gate.db"


def test_agents(cli: Cli, db: Path) -> None:
    """Add, list and revoke; the key is shown once and never again."""
    added = cli("agent", "add", "refund-bot", "--db", db, "--json")
    again = cli("agent", "add", "refund-bot", "--db", db)
    listed = cli("agent", "list", "--db", db, "--json").json["agents"]
    first, second = listed[0]["keys"]

    assert added.json.keys() == {"agent", "key"}
    assert added.json["key"].startswith("sg_")
    assert (added.err, added.code) == ("", 0)
    assert again.out.count("sg_") == 1
    assert added.json["key"] not in json.dumps(listed)
    assert cli("agent", "revoke", first["id"], "--db", db).code == 0
    assert cli("agent", "revoke", "refund-bot", "--db", db).out == "Revoked 1 key: refund-bot\n"
    assert cli("agent", "revoke", "refund-bot", "--db", db).code == 1
    assert second["id"] in cli("agent", "list", "--db", db).out


def test_agent_with_webhook(cli: Cli, db: Path) -> None:
    """A webhook comes with the secret that checks its signatures."""
    added = cli("agent", "add", "bot", "--webhook", "https://example.com/h", "--signed-approval", "--db", db, "--json")
    wrong = cli("agent", "add", "bot", "--webhook", "ftp://example.com", "--db", db)
    (listed,) = cli("agent", "list", "--db", db, "--json").json["agents"]

    assert added.json["webhook_secret"].startswith("whsec_")
    assert (listed["signed_approval"], listed["webhook_url"]) == (True, "https://example.com/h")
    assert wrong.code == 1
    assert "http" in wrong.err


def test_reviewers(cli: Cli, db: Path) -> None:
    """Add, list and revoke."""
    added = cli("reviewer", "add", "anna", "--db", db, "--json")

    assert added.json.keys() == {"reviewer", "token"}
    assert added.json["token"].startswith("sr_")
    assert cli("reviewer", "list", "--db", db, "--json").json["reviewers"][0]["name"] == "anna"
    assert "anna" in cli("reviewer", "list", "--db", db).out
    assert cli("reviewer", "revoke", "anna", "--db", db).code == 0
    assert cli("reviewer", "revoke", "bert", "--db", db).err == "stacksona: There is no key and no name 'bert'.\n"


def test_rules(cli: Cli, db: Path) -> None:
    """Add, list and remove; numbers are numbers and texts are texts."""
    options = ("--agent", "bot", "--tool", "pay", "--db", db, "--json")
    limits = "--parameter amount --type between --value 1 --value2 2.5 --outcome allow"
    texts = "--parameter id --type contains --value 7 --outcome reject"
    between, text = (cli("rules", "add", *options, *words.split()) for words in (limits, texts))
    listed = cli("rules", "list", "--db", db, "--json").json["rules"]

    assert (between.json["value"], between.json["value2"], text.json["value"]) == (1, 2.5, "7")
    assert [rule["id"] for rule in listed] == [between.json["id"], text.json["id"]]
    assert "1 to 2.5" in cli("rules", "list", "--db", db).out
    assert cli("rules", "remove", between.json["id"], "--db", db).code == 0
    assert cli("rules", "remove", between.json["id"], "--db", db).code == 1


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ("--type between --value 1 --outcome allow", 2, "between needs it"),
        ("--type regex --value a --value2 b --outcome allow", 2, "no other type takes it"),
        ("--type upper_limit --value much --outcome allow", 2, "not a number"),
        ("--type upper_limit --value nan --outcome allow", 1, "must be a number"),
        ("--type between --value 5 --value2 1 --outcome allow", 1, "must not be below"),
        ("--type regex --value ( --outcome review", 1, "not a regular expression"),
        ("--type equals --value 1 --outcome allow", 2, "equals"),
        ("--type contains --value 1 --outcome perhaps", 2, "perhaps"),
        ("--type contains --outcome allow", 2, "--value"),
    ],
)
def test_wrong_rules(cli: Cli, db: Path, options: str, code: int, says: str) -> None:
    """Wrong use is 2, what the gate does not accept is 1, and either says why."""
    done = cli("rules", "add", "--tool", "pay", "--parameter", "amount", "--db", db, *options.split())

    assert (done.code, done.out) == (code, "")
    assert says in done.err


def test_rules_from_a_file(cli: Cli, db: Path, tmp_path: Path) -> None:
    """All or none; `--replace` puts them in the place of the others."""
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    rule = '[[rule]]\ntool = "pay"\nparameter = "amount"\ntype = "upper_limit"\nvalue = 5\noutcome = "reject"\n'
    good.write_text(rule)
    bad.write_text(rule + rule.replace("reject", "perhaps"))

    assert cli("rules", "load", good, "--db", db).out == f"Loaded 1 rule from {good}.\n"
    assert cli("rules", "load", good, "--replace", "--db", db, "--json").code == 0
    broken = cli("rules", "load", bad, "--replace", "--db", db)
    missing = cli("rules", "load", tmp_path / "none.toml", "--db", db)

    assert broken.code == missing.code == 1
    assert "Rule 2" in broken.err
    assert "cannot be read" in missing.err
    assert len(cli("rules", "list", "--db", db, "--json").json["rules"]) == 1


def test_looking_makes_no_database(cli: Cli, db: Path) -> None:
    """A mistyped path is an error instead of a new and empty gate whose trail is fine."""
    for words in ("audit verify", "agent list", "reviewer list", "rules list", "agent revoke x", "rules remove x"):
        done = cli(*words.split(), "--db", db)

        assert done.code == 1
        assert f"There is no gate at {db}" in done.err
    assert not db.exists()


def test_database_by_environment(cli: Cli, db: Path) -> None:
    """STACKSONA_DB names the database, in every form."""
    cli.environ.setenv("STACKSONA_DB", f"sqlite:///{db}")
    assert cli("agent", "add", "bot").code == 0
    assert db.exists()
    assert cli("agent", "list", "--db", "mysql://localhost/gate").code == 1


def test_file_that_is_no_database(cli: Cli, tmp_path: Path) -> None:
    """A file of something else is left alone."""
    file = tmp_path / "notes.txt"
    file.write_text("these are my notes, not a database\n" * 100)

    done = cli("agent", "add", "bot", "--db", file)

    assert done.code == 1
    assert "cannot be used" in done.err
    assert "Traceback" not in done.err
    assert file.read_text().startswith("these are my notes")


def test_audit_of_a_database(cli: Cli, stacksona_gate: RunningGate) -> None:
    """It holds; after a change in the file the first broken record is named and the exit code is 1."""
    gate = stacksona_gate.gate("bot", wait=0)
    decision = gate.request(gate.action("pay", {"amount": 1})).decision
    gate.flush(10)
    fine = cli("audit", "verify", "--db", stacksona_gate.database)

    with sqlite3.connect(stacksona_gate.database) as connection:
        connection.execute("UPDATE records SET payload = replace(payload, 'pay', 'sell') WHERE kind LIKE 'decision%'")
    broken = cli("audit", "verify", "--db", stacksona_gate.database)
    as_json = cli("audit", "verify", "--db", stacksona_gate.database, "--json")

    assert fine.code == 0
    assert "The audit chain holds" in fine.out
    assert (broken.code, broken.out) == (1, "")
    assert f"task_id {decision.task_id}" in broken.err
    assert (as_json.code, as_json.json["ok"], as_json.json["agent"]) == (1, False, "bot")


def test_audit_of_an_exported_file(cli: Cli, stacksona_gate: RunningGate, tmp_path: Path) -> None:
    """An export verifies without any gate; every kind of change to it is found."""
    gate, file = stacksona_gate.gate(wait=0), tmp_path / "export.json"
    decision = gate.request(gate.action("pay", {"amount": 1.5, "to": "Zoë"})).decision
    gate.flush(10)
    exported = stacksona_gate.reviewer().client.export(decision.id)

    def verify(content: object) -> tuple[int, str]:
        file.write_text(json.dumps(content))
        done = cli("audit", "verify", file, "--db", tmp_path / "none.db")
        return done.code, done.err or done.out

    records = exported["records"]
    changed = json.loads(json.dumps(exported, ensure_ascii=False).replace("Zoë", "Bob"))
    code, said = verify(exported)

    assert code == 0, said
    assert len(records) >= 3
    for broken in (changed, {"records": records[1:]}, {"records": [*records[:1], *records[2:]]}, {"records": [{}]}):
        code, said = verify(broken)
        assert (code, "broken" in said) == (1, True)
    for other in ({}, [], {"records": []}, "x"):
        assert verify(other)[0] == 1
    file.write_text("no json")
    assert cli("audit", "verify", file).code == 1


def test_the_trail_is_exported_and_verified(cli: Cli, stacksona_gate: RunningGate, tmp_path: Path) -> None:
    """A file that verifies by itself, with the gate's key; a changed byte is exit 1, as is a file that is there."""
    gate = stacksona_gate.gate(wait=0)
    gate.request(gate.action("refund", {"amount": 1}))
    out, db = tmp_path / "trail.jsonl", stacksona_gate.database
    key = cli("audit", "key", "--db", db, "--json").json["public_key"]
    made = cli("audit", "export", "--out", out, "--db", db)

    assert made.code == 0
    assert f"python -m stacksona_adapters.audit {out} --key {key}" in made.out
    assert "is there already" in cli("audit", "export", "--out", out, "--db", db).err
    assert cli("audit", "verify", out, "--key", key).code == 0
    kinds = [entry["kind"] for entry in cli("audit", "log", "--db", db, "--json").json["entries"]]
    assert kinds[-1] == "agent.key_added"
    assert "operator" in cli("audit", "log", "--db", db).out
    assert key in cli("audit", "verify", out).out
    assert "another key" in cli("audit", "verify", out, "--key", "00" * 32).err
    out.write_bytes(out.read_bytes().replace(b"agent", b"agant", 1))
    assert cli("audit", "verify", out, "--json").json["ok"] is False
    assert cli("audit", "verify", out).code == 1


def test_one_thread_is_exported(cli: Cli, stacksona_gate: RunningGate, tmp_path: Path) -> None:
    """A request alone: as a file that verifies, with its task's records only, and as a page; both are recorded."""
    gate, db = stacksona_gate.gate("bot", wait=0), stacksona_gate.database
    pending = gate.request(gate.action("refund", {"amount": 1, "to": "Zoë"})).decision
    gate.request(gate.action("refund", {"amount": 2}))
    gate.flush(10)
    out, page, thread = tmp_path / "thread.jsonl", tmp_path / "thread.html", str(pending.thread_id)
    key = cli("audit", "key", "--db", db, "--json").json["public_key"]

    lines = cli("audit", "export", "--thread", thread, "--out", out, "--db", db)
    shown = cli("audit", "export", "--thread", pending.id, "--html", page, "--db", db, "--json")

    assert (lines.code, shown.code) == (0, 0), lines.err + shown.err
    assert shown.json == {"file": str(page), "public_key": key}
    found = cli("audit", "verify", out, "--key", key, "--json").json
    assert (found["ok"], found["chains"]) == (True, 1)
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines() if '"type":"record"' in line]
    assert {record["task"] for record in records} == {pending.task_id}
    assert json.loads(records[-1]["payload"])["format"] == "jsonl"
    text = page.read_text(encoding="utf-8")
    assert all(part in text for part in (thread, "Zoë", key, *(record["hash"] for record in records)))
    last = stacksona_gate.reviewer().client.review(pending.id).timeline[-1]
    assert (last.kind, last.payload["format"]) == ("review.exported", "html")


def test_what_cannot_be_exported(cli: Cli, stacksona_gate: RunningGate, tmp_path: Path) -> None:
    """Wrong use is told apart from what is not there, and leaves no file behind."""
    db, out = stacksona_gate.database, tmp_path / "out"
    wrong = [
        (),
        ("--out", out, "--html", out),
        ("--html", out),
        ("--thread", "THR-1", "--agent", "bot", "--out", out),
        ("--thread", "THR-1", "--task", "t", "--html", out),
    ]

    for words in wrong:
        assert cli("audit", "export", *words, "--db", db).code == 2
    for kind in ("--out", "--html"):
        missing = cli("audit", "export", "--thread", "THR-00000000", kind, out, "--db", db)
        assert (missing.code, "There is no decision" in missing.err) == (1, True)
        assert not out.exists()
        nowhere = cli("audit", "export", "--thread", "THR-0", kind, tmp_path / "no" / "file", "--db", db)
        assert (nowhere.code, "cannot be written" in nowhere.err) == (1, True)
    out.write_text("mine")
    assert "is there already" in cli("audit", "export", "--thread", "THR-0", "--html", out, "--db", db).err
    assert out.read_text() == "mine"


def test_check_migrate_copy_and_prune(cli: Cli, stacksona_gate: RunningGate, tmp_path: Path) -> None:
    """The database's own commands, on a running gate; wrong words and missing files are told apart."""
    db, copied = stacksona_gate.database, tmp_path / "copy.db"
    stacksona_gate.agent_key("bot")
    empty = tmp_path / "empty.db"
    sqlite3.connect(empty).close()

    assert cli("db", "check", "--db", db).code == 0
    assert "holds" in cli("db", "copy", "--to", copied, "--db", db).out
    assert cli("db", "copy", "--to", copied, "--db", db).code == 1
    assert [agent["name"] for agent in cli("agent", "list", "--db", copied, "--json").json["agents"]] == ["bot"]
    assert "db migrate" in cli("db", "check", "--db", empty).err
    assert cli("db", "migrate", "--db", empty).code == 0
    assert cli("db", "check", "--db", empty, "--json").json["ok"] is True
    assert cli("db", "check", "--db", tmp_path / "none.db").code == 1
    assert cli("prune", "--older-than", "90d", "--db", db).out == "0 tasks were removed.\n"
    assert cli("prune", "--older-than", "90d", "--dry-run", "--db", db, "--json").json == {"tasks": 0, "removed": False}
    assert cli("prune", "--older-than", "soon", "--db", db).code == 2
