"""The outbox against a real server, a real disk and real processes."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from stacksona_adapters.client.outbox import Outbox, Parcel
from stacksona_adapters.client.outbox_store import FILE_NAME, OutboxStore
from stacksona_adapters.errors import GateAuthenticationError
from tests.client.outbox_tools import Delivery, Server, Watched, parcel, quick

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on a free port."""
    server = Server()
    yield server
    server.down()


@pytest.fixture
def watched() -> Watched:
    """Tells when parcels are on disk."""
    return Watched()


def _outbox(server: Server, directory: Path | None, **options: object) -> Outbox:
    return Outbox(Delivery(server.url), destination="gate", directory=directory, options=quick(**options))


def _process(role: str, server: Server, directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.client.outbox_process", role, server.url, str(directory)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _ended(running: subprocess.Popen[str]) -> str:
    """What the process wrote to the error stream; it must have ended well."""
    _, errors = running.communicate(timeout=90)
    assert running.returncode == 0, errors
    return errors


def _rows(directory: Path) -> int:
    with closing(sqlite3.connect(directory / FILE_NAME)) as connection:
        return int(connection.execute("SELECT count(*) FROM parcel").fetchone()[0])


@pytest.mark.parametrize("on_disk", [True, False])
def test_order_within_each_lane(server: Server, tmp_path: Path, on_disk: bool) -> None:
    """Parcels arrive once each and in order per lane, and nothing stays on disk."""
    outbox = _outbox(server, tmp_path if on_disk else None)
    for number in range(10):
        outbox.put(parcel("one", number))
        outbox.put(parcel("two", number))

    assert outbox.flush(60)
    outbox.close()

    assert server.numbers("one") == server.numbers("two") == list(range(10))
    assert len(server.tried) == 20
    assert outbox.dropped == 0
    assert (_rows(tmp_path) if on_disk else 0) == 0
    assert not list(tmp_path.glob("*.lock"))


def test_outage_then_recovery(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While the port is closed nothing is lost and the log says so once; afterwards all arrives in order."""
    server.down()
    outbox = _outbox(server, tmp_path)
    for number in range(3):
        outbox.put(parcel("one", number))
    assert not outbox.flush(0.3)

    server.up()

    assert outbox.flush(60)
    assert server.numbers("one") == [0, 1, 2]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "sends it later" in caplog.text
    outbox.close()


def test_status_503_is_retried_in_order(server: Server, tmp_path: Path) -> None:
    """A gate without time gets the same parcel again before the next of its lane."""
    refusals = iter([503, 429, 500])
    server.answer = lambda path, number: next(refusals, 201)
    outbox = _outbox(server, tmp_path)
    outbox.put(parcel("one", 0))
    outbox.put(parcel("one", 1))

    assert outbox.flush(60)
    outbox.close()

    assert [number for _, number in server.tried] == [0, 0, 0, 0, 1]


def test_failing_lane_holds_up_no_other(server: Server, tmp_path: Path) -> None:
    """A lane that the gate cannot serve waits alone."""
    server.answer = lambda path, number: 503 if path == "/sick" else 201
    outbox = _outbox(server, tmp_path)
    outbox.put(parcel("sick", 0))
    for number in range(5):
        outbox.put(parcel("well", number))

    server.wait_for(lambda: server.numbers("well") == list(range(5)))

    assert server.numbers("sick") == []
    server.answer = lambda path, number: 201
    assert outbox.flush(60)
    assert server.numbers("sick") == [0]
    outbox.close()


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 422])
def test_refused_parcel_is_dropped(
    server: Server, tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal is logged with path and reason, and the lane goes on."""
    server.answer = lambda path, number: status if number == 0 else 201
    outbox = _outbox(server, tmp_path)
    outbox.put(parcel("one", 0))
    outbox.put(parcel("one", 1))

    assert outbox.flush(60)
    outbox.close()

    assert server.tried == [("/one", 0), ("/one", 1)]
    assert outbox.dropped == 1
    assert "/one" in caplog.text
    assert str(status) in caplog.text
    assert _rows(tmp_path) == 0


def test_wrong_key_is_tried_again(tmp_path: Path) -> None:
    """A key that is not accepted may be accepted later."""
    attempts: list[int] = []

    def deliver(parcel: Parcel) -> None:
        attempts.append(parcel.body["number"])
        if len(attempts) < 3:
            raise GateAuthenticationError("The gate does not accept the key.")

    outbox = Outbox(deliver, destination="gate", directory=tmp_path, options=quick())
    outbox.put(parcel("one", 0))

    assert outbox.flush(60)
    assert attempts == [0, 0, 0]
    outbox.close()


def test_mistake_in_delivery_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An unforeseen error is logged with its traceback and the parcel is tried again."""
    attempts: list[int] = []

    def deliver(parcel: Parcel) -> None:
        attempts.append(parcel.body["number"])
        if len(attempts) < 3:
            raise KeyError("unforeseen")

    outbox = Outbox(deliver, destination="gate", directory=tmp_path, options=quick())
    outbox.put(parcel("one", 0))

    assert outbox.flush(60)
    assert attempts == [0, 0, 0]
    assert "KeyError: 'unforeseen'" in caplog.text
    outbox.close()


def test_put_waits_for_no_disk(server: Server, tmp_path: Path) -> None:
    """With a disk that hangs, `put` returns and the parcel is delivered; the caller's thread writes nothing."""
    release, threads = threading.Event(), set[int]()

    class Hanging(OutboxStore):
        def __init__(self, directory: Path, destination: str, owner: str) -> None:
            threads.add(threading.get_ident())
            assert release.wait(60)
            super().__init__(directory, destination, owner)

    outbox = _outbox(server, tmp_path, store=Hanging)
    outbox.put(parcel("one", 0))

    assert outbox.flush(60)
    assert not release.is_set()
    assert server.numbers("one") == [0]
    release.set()
    outbox.close()
    assert threading.get_ident() not in threads
    assert threads


def test_parcels_reach_the_disk_while_the_gate_hangs(server: Server, tmp_path: Path, watched: Watched) -> None:
    """A delivery that takes long does not keep later parcels from the disk."""
    release = threading.Event()
    server.answer = lambda path, number: 201 if release.wait(60) else 500
    outbox = _outbox(server, tmp_path, store=watched.store)
    outbox.put(parcel("one", 0))
    server.wait_for(lambda: len(server.tried) == 1)
    outbox.put(parcel("one", 1))
    watched.wait_for(2)

    assert _rows(tmp_path) == 2
    assert threading.get_ident() not in watched.threads
    release.set()
    assert outbox.flush(60)
    outbox.close()
    assert _rows(tmp_path) == 0


def test_killed_process_leaves_its_parcels_to_another(server: Server, tmp_path: Path) -> None:
    """After SIGKILL between put and delivery, another process sends the parcels first and in order."""
    release = threading.Event()
    server.answer = lambda path, number: 503 if not release.is_set() else 201
    victim = _process("hang", server, tmp_path)
    assert victim.stdout is not None
    line = victim.stdout.readline()
    victim.kill()
    _, errors = victim.communicate(timeout=60)
    assert line == "on disk\n", errors
    assert _rows(tmp_path) == 3
    release.set()

    outbox = _outbox(server, tmp_path)
    outbox.put(parcel("own", 0))
    server.wait_for(lambda: len(server.taken) == 4)
    assert outbox.flush(60)
    outbox.close()

    assert server.numbers("killed") == [0, 1, 2]
    assert _rows(tmp_path) == 0
    assert not list(tmp_path.glob("*.lock"))


def test_exit_sends_what_was_put(server: Server, tmp_path: Path) -> None:
    """A script that just ends has its parcels delivered, with and without a disk."""
    _ended(_process("leave", server, tmp_path))
    _ended(_process("leave_in_memory", server, tmp_path))

    assert server.numbers("leaving") == server.numbers("memory") == [0, 1, 2]
    assert _rows(tmp_path) == 0


def test_exit_is_bounded_and_the_next_start_delivers(server: Server, tmp_path: Path) -> None:
    """With no gate a script ends all the same, and the next process sends what it left."""
    server.down()
    _ended(_process("leave", server, tmp_path))
    assert _rows(tmp_path) == 3
    server.up()

    outbox = _outbox(server, tmp_path)
    outbox.put(parcel("own", 0))
    server.wait_for(lambda: len(server.taken) == 4)
    outbox.close()

    assert server.numbers("leaving") == [0, 1, 2]


def test_processes_share_one_file(server: Server, tmp_path: Path) -> None:
    """Processes that start at once on one file neither disturb each other nor mix up their order."""
    running = [_process("share", server, tmp_path) for _ in range(3)]
    assert [_ended(each) for each in running] == ["", "", ""]

    lanes = {path[1:] for path, _ in server.taken}
    assert len(lanes) == 6
    assert all(server.numbers(lane) == list(range(20)) for lane in lanes)
    assert _rows(tmp_path) == 0


def test_fork(server: Server, tmp_path: Path) -> None:
    """Parent and child go on with the same object; each parcel is sent by the process that put it."""
    _ended(_process("fork", server, tmp_path))

    assert server.numbers("parent") == [0, 1]
    assert server.numbers("child") == [1]
    assert len(server.tried) == 3
    assert _rows(tmp_path) == 0


def test_unwritable_directory(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where no directory can be made, parcels go by memory, with one warning that says what to do."""
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    outbox = _outbox(server, blocked / "state")
    for number in range(3):
        outbox.put(parcel("one", number))
        assert outbox.flush(60)
    outbox.close()

    assert server.numbers("one") == [0, 1, 2]
    assert len(caplog.records) == 1
    assert "STACKSONA_STATE_DIR" in caplog.text


class TinyDisk(OutboxStore):
    """SQLite's own limit makes the disk full after a few pages."""

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Set the limit."""
        super().prepare(connection)
        connection.execute("PRAGMA max_page_count=12")


def test_full_disk(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the disk cannot take is delivered from memory, with one warning; nothing stays on disk for ever."""
    server.down()
    outbox = _outbox(server, tmp_path, store=TinyDisk)
    big = {"number": 0, "filler": "x" * 60_000}
    outbox.put(parcel("one", 0))
    outbox.put(Parcel("one", "POST", "/one", {**big, "number": 1}, "one-1"))
    outbox.put(parcel("one", 2))
    assert not outbox.flush(0.3)
    server.up()

    assert outbox.flush(60)
    outbox.close()

    assert server.numbers("one") == [0, 1, 2]
    assert [text for text in caplog.messages if "database or disk is full" in text] == [
        text for text in caplog.messages if "cannot write" in text
    ]
    assert caplog.text.count("database or disk is full") == 1


def test_file_that_is_no_database(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged file is set aside under another name and a new one serves."""
    (tmp_path / FILE_NAME).write_bytes(b"this is no database" * 1000)
    server.down()
    outbox = _outbox(server, tmp_path)
    outbox.put(parcel("one", 0))
    outbox.close(0.5)
    assert _rows(tmp_path) == 1
    server.up()

    again = _outbox(server, tmp_path)
    again.put(parcel("one", 1))
    server.wait_for(lambda: len(server.taken) == 2)
    again.close()

    (aside,) = [path for path in tmp_path.glob(f"{FILE_NAME}.damaged-*") if path.suffix.startswith(".damaged")]
    assert aside.read_bytes().startswith(b"this is no database")
    assert server.numbers("one") == [0, 1]
    assert "was damaged" in caplog.text


def test_damage_while_running(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All that waits is written to the new file, what was on the damaged one too."""
    server.down()
    damage = iter([False, True])
    watched = Watched()

    class Damaged(watched.store):  # type: ignore[misc, name-defined]
        def add(self, rows: Sequence[tuple[str, str]]) -> None:
            if rows and next(damage, False):
                raise sqlite3.DatabaseError("database disk image is malformed")
            super().add(rows)

    outbox = _outbox(server, tmp_path, store=Damaged)
    outbox.put(parcel("one", 0))
    watched.wait_for(1)
    outbox.put(parcel("one", 1))
    watched.wait_for(3)
    assert _rows(tmp_path) == 2
    server.up()

    assert outbox.flush(60)
    outbox.close()
    assert server.numbers("one") == [0, 1]
    assert "was damaged" in caplog.text
    assert _rows(tmp_path) == 0


def test_locked_file(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that another program holds locked stands in nobody's way."""
    OutboxStore(tmp_path, "gate", "earlier").close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        outbox = _outbox(server, tmp_path)
        outbox.put(parcel("one", 0))

        assert outbox.flush(60)
        outbox.put(parcel("one", 1))
        assert outbox.flush(60)
        outbox.close()

    assert server.numbers("one") == [0, 1]
    assert _rows(tmp_path) == 0


def test_after_close(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A closed outbox takes nothing more, says so, and may be closed again."""
    outbox = _outbox(server, tmp_path)
    outbox.put(parcel("one", 0))
    outbox.close()
    outbox.put(parcel("one", 1))
    outbox.close()

    assert server.numbers("one") == [0]
    assert outbox.dropped == 1
    assert "the outbox is closed" in caplog.text
    assert outbox.flush(60)


def test_closing_ends_the_threads(server: Server, tmp_path: Path) -> None:
    """Nothing runs on after `close`, nor after an outbox is forgotten."""
    before = set(threading.enumerate())
    outbox = _outbox(server, tmp_path)
    outbox.put(parcel("one", 0))
    outbox.close()
    assert not [thread for thread in set(threading.enumerate()) - before if "stacksona" in thread.name]

    forgotten = _outbox(server, tmp_path)
    forgotten.put(parcel("one", 1))
    threads = [thread for thread in threading.enumerate() if "stacksona" in thread.name]
    del forgotten
    for thread in threads:
        thread.join(30)
    assert threads
    assert not any(thread.is_alive() for thread in threads)
    assert server.numbers("one") == [0, 1]


def test_memory_is_bounded(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Beyond the limit the newest are dropped and counted, and the rest arrives."""
    server.down()
    outbox = _outbox(server, tmp_path, limit=3)
    caplog.set_level(logging.ERROR)
    for number in range(150):
        outbox.put(parcel("one", number))
    server.up()

    assert outbox.flush(60)
    assert server.numbers("one") == [0, 1, 2]
    assert outbox.dropped == 147
    outbox.close()


def test_body_as_it_was_when_put(server: Server) -> None:
    """A later change of the body is not sent; a body that is not JSON is dropped with a warning."""
    sent: list[dict[str, object]] = []
    outbox = Outbox(lambda parcel: sent.append(parcel.body), destination="gate", options=quick())
    body: dict[str, object] = {"text": "before \ud800"}
    outbox.put(Parcel("one", "POST", "/one", body, "k1"))
    body["text"] = "after"
    for bad in ({"number": float("nan")}, {"thing": object()}):
        outbox.put(Parcel("one", "POST", "/one", bad, "k2"))

    assert outbox.flush(60)
    assert sent == [{"text": "before ?"}]
    assert outbox.dropped == 2
    outbox.close()


def test_puts_from_many_threads(server: Server, tmp_path: Path) -> None:
    """Threads may put at the same time; each keeps its own order."""
    delivered: list[tuple[str, int]] = []
    outbox = Outbox(
        lambda parcel: delivered.append((parcel.lane, parcel.body["number"])),
        destination="gate",
        directory=tmp_path,
        options=quick(),
    )

    def put(lane: str) -> None:
        for number in range(200):
            outbox.put(parcel(lane, number))

    threads = [threading.Thread(target=put, args=(f"lane{index}",)) for index in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outbox.flush(60)
    outbox.close()
    for index in range(5):
        assert [number for lane, number in delivered if lane == f"lane{index}"] == list(range(200))
    assert _rows(tmp_path) == 0
