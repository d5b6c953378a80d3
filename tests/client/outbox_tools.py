"""A small real HTTP server for the outbox, and the deliveries to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from stacksona_adapters.client.outbox import OutboxOptions, Parcel
from stacksona_adapters.client.outbox_store import OutboxStore
from stacksona_adapters.errors import GateUnavailable
from stacksona_adapters.protocol.calls import Answer, read_nothing


class Server:
    """Counts what arrives; `answer` says with which status, and may block; `down` and `up` close and open the port."""

    def __init__(self) -> None:
        self.answer: Callable[[str, int], int] = lambda path, number: 201
        self.taken: list[tuple[str, int]] = []
        self.tried: list[tuple[str, int]] = []
        self.keys: set[str] = set()
        self._changed = threading.Condition()
        self._port = 0
        self.up()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        """Listen, on the same port as before."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                number = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["number"]
                status = outer.note(self.path, number, self.headers["Idempotency-Key"])
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_request(self, code: object = "-", size: object = "-") -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def down(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()

    def note(self, path: str, number: int, key: str) -> int:
        """Take a call or not, as `answer` says."""
        with self._changed:
            self.tried.append((path, number))
            self._changed.notify_all()
        status = self.answer(path, number)
        with self._changed:
            if status < 300 and key not in self.keys:
                self.keys.add(key)
                self.taken.append((path, number))
            self._changed.notify_all()
        return status

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true after a call."""
        with self._changed:
            assert self._changed.wait_for(condition, 30), (self.tried, self.taken)

    def numbers(self, lane: str) -> list[int]:
        """What was taken of a lane, in order."""
        return [number for path, number in self.taken if path == f"/{lane}"]


def parcel(lane: str, number: int) -> Parcel:
    """A parcel whose path is its lane."""
    return Parcel(lane, "POST", f"/{lane}", {"number": number}, f"{lane}-{number}")


class Delivery:
    """One attempt over a real connection, as the client makes it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, parcel: Parcel) -> None:
        """Make the attempt."""
        headers = {"Idempotency-Key": parcel.idempotency_key, "Connection": "close"}
        try:
            with httpx.Client(trust_env=False, verify=False, timeout=20) as client:
                response = client.request(parcel.method, self._url + parcel.path, json=parcel.body, headers=headers)
        except httpx.TransportError as error:
            raise GateUnavailable(f"The gate cannot be reached ({error}); nothing ran.") from error
        read_nothing(Answer(response.status_code, response.json()))


class Watched:
    """Store classes that tell what they do, one set per instance."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.added = 0
        self.threads: set[int] = set()

    def wait_for(self, rows: int) -> None:
        """Wait until as many rows were written."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.added >= rows, 30), self.added

    def note(self, rows: int) -> None:
        """Count rows."""
        with self._changed:
            self.added += rows
            self.threads.add(threading.get_ident())
            self._changed.notify_all()

    @property
    def store(self) -> type[OutboxStore]:
        """The class to use."""
        outer = self

        class WatchedStore(OutboxStore):
            def add(self, rows):  # type: ignore[no-untyped-def]
                super().add(rows)
                outer.note(len(rows))

        return WatchedStore


def quick(**changes: object) -> OutboxOptions:
    """Options with pauses of milliseconds."""
    return OutboxOptions(**{"first_pause": 0.01, "longest_pause": 0.05, **changes})  # type: ignore[arg-type]
