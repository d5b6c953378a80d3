"""The outbox's order of delivery, and its file as several processes see it."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import platformdirs

from stacksona_adapters.client.outbox_parcels import Item, Lanes, parcel_from_json, parcel_to_json
from stacksona_adapters.client.outbox_store import FILE_NAME, OutboxStore, state_directory
from tests.client.outbox_tools import parcel

ROWS = [("k1", "one"), ("k2", "two"), ("k3", "three")]


def _item(lane: str, number: int) -> Item:
    return Item(f"{lane}-{number}", lane, "", number)


def _filled(*lanes: str) -> Lanes:
    made = Lanes(first=1.0, longest=30.0)
    for number in range(2):
        for lane in lanes:
            made.add(_item(lane, number))
    return made


def _take(lanes: Lanes, now: float) -> str:
    got = lanes.ready(now)
    assert got is not None
    return got.key


def test_lanes_take_turns() -> None:
    """One item of each lane, in the order in which the lanes came; order within a lane."""
    lanes = _filled("a", "b")
    order = []
    while (got := lanes.ready(0.0)) is not None:
        order.append(got.key)
        lanes.passed(got)

    assert order == ["a-0", "b-0", "a-1", "b-1"]
    assert len(lanes) == 0
    assert list(lanes) == []


def test_one_probe_while_the_gate_is_down() -> None:
    """However many lanes there are, one item tries the gate after each growing pause, never above the ceiling."""
    lanes = _filled(*(f"lane{index}" for index in range(50)))
    now, pauses = 0.0, []
    for _ in range(12):
        got = lanes.ready(now)
        assert got is not None
        lanes.failed(got, now, 1.0)
        assert lanes.ready(now) is None
        pauses.append(lanes.wake_at(now) - now)
        now = lanes.wake_at(now)

    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, *[30.0] * 7]


def test_sick_lane_waits_alone() -> None:
    """Once another lane gets through, only the sick lane goes on waiting, longer each time."""
    lanes = _filled("sick", "well")
    sick = lanes.ready(0.0)
    assert sick is not None
    lanes.failed(sick, 0.0, 1.0)
    well = lanes.ready(1.0)
    assert well is not None
    assert well.key == "well-0"
    lanes.failed(sick, 1.0, 1.0)
    lanes.passed(well)

    assert _take(lanes, 1.0) == "well-1"
    lanes.passed(next(each for each in lanes if each.lane == "well"))
    assert lanes.ready(1.0) is None
    assert lanes.wake_at(1.0) == 3.0
    assert _take(lanes, 3.0) == "sick-0"


def test_hurry_ends_pauses() -> None:
    """A flush tries at once."""
    lanes = _filled("a")
    got = lanes.ready(0.0)
    assert got is not None
    lanes.failed(got, 0.0, 1.0)
    assert lanes.ready(0.5) is None

    lanes.hurry()

    assert _take(lanes, 0.5) == "a-0"


def test_older_items_go_first() -> None:
    """What an earlier process left goes before what waits, even while the first of a lane is under way."""
    lanes = _filled("a")
    under_way = lanes.ready(0.0)
    assert under_way is not None

    lanes.add_earlier([_item("a", -2), _item("b", -1), _item("a", -1)])
    lanes.passed(under_way)

    assert [each.key for each in lanes if each.lane == "a"] == ["a--2", "a--1", "a-1"]
    assert len(lanes) == 4


def test_parcel_on_disk() -> None:
    """A parcel survives the disk; what is no parcel is known as such."""
    sent = parcel("lane/ü", 3)

    assert parcel_from_json(parcel_to_json(sent)) == sent
    assert [parcel_from_json(text) for text in ("", "[]", "3", "{}", '{"lane": "a"}')] == [None] * 5


def test_rows_of_a_living_owner_are_left_alone(tmp_path: Path) -> None:
    """Another process takes nothing over while the owner lives, and all of it in order once it is gone."""
    first, second = OutboxStore(tmp_path, "gate", "first"), OutboxStore(tmp_path, "gate", "second")
    first.add(ROWS)
    assert second.adopt(10) == []

    first.close()

    assert second.adopt(2) == ROWS[:2]
    assert second.adopt(10) == ROWS[2:]
    assert second.adopt(10) == []
    second.close()
    third = OutboxStore(tmp_path, "gate", "third")
    assert third.adopt(10) == ROWS
    third.close()


def test_old_heartbeat_counts_as_dead(tmp_path: Path) -> None:
    """A lock that a forked child still holds does not keep the rows of a dead process for ever."""
    first, second = OutboxStore(tmp_path, "gate", "first"), OutboxStore(tmp_path, "gate", "second")
    first.add(ROWS)
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("UPDATE owner SET heartbeat = heartbeat - 61 WHERE id = 'first'")

    assert second.adopt(10) == ROWS
    first.remove([key for key, _ in ROWS])
    second.close()
    first.close()
    assert not list(tmp_path.glob("*.lock"))


def test_beating_owner_lives(tmp_path: Path) -> None:
    """A sign of life makes an old heartbeat new."""
    first, second = OutboxStore(tmp_path, "gate", "first"), OutboxStore(tmp_path, "gate", "second")
    first.add(ROWS)
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("UPDATE owner SET heartbeat = heartbeat - 61 WHERE id = 'first'")

    first.beat()

    assert second.adopt(10) == []
    first.close()
    second.close()


def test_other_destination_is_left_alone(tmp_path: Path) -> None:
    """Parcels for another gate or key stay with it."""
    first = OutboxStore(tmp_path, "gate", "first")
    first.add(ROWS)
    first.close()
    other, same = OutboxStore(tmp_path, "other", "second"), OutboxStore(tmp_path, "gate", "third")

    assert other.adopt(10) == []
    assert same.adopt(10) == ROWS
    other.close()
    same.close()


def test_writing_twice_keeps_one(tmp_path: Path) -> None:
    """What is on disk already stays as it is, in its place."""
    store = OutboxStore(tmp_path, "gate", "first")
    store.add(ROWS[:2])
    store.add([("k1", "changed"), ROWS[2]])
    store.close()

    again = OutboxStore(tmp_path, "gate", "second")
    assert again.adopt(10) == ROWS
    again.close()


def test_litter_of_the_dead_is_removed(tmp_path: Path) -> None:
    """A process that died with nothing to send leaves no file for ever, and a living one keeps its lock."""
    living = OutboxStore(tmp_path, "gate", "living")
    (tmp_path / "outbox-dead.lock").touch()

    OutboxStore(tmp_path, "gate", "new").close()

    assert [path.name for path in tmp_path.glob("*.lock")] == ["outbox-living.lock"]
    living.close()


def test_only_the_user_reads_the_file(tmp_path: Path) -> None:
    """Payloads are nobody else's business."""
    store = OutboxStore(tmp_path / "state", "gate", "first")
    store.add(ROWS)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    store.close()


def test_state_directory() -> None:
    """The variable first, else the platform's place; an empty variable counts as none."""
    default = Path(platformdirs.user_state_dir("stacksona", appauthor=False))

    assert state_directory({"STACKSONA_STATE_DIR": "somewhere/else"}) == Path("somewhere/else")
    assert state_directory({}) == state_directory({"STACKSONA_STATE_DIR": " "}) == default
