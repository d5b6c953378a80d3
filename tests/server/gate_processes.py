"""Gates as processes of their own on one database, and callers that go to another one when theirs dies."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx

COMMAND = [sys.executable, "-m", "stacksona_adapters.cli", "serve", "--port", "0", "--webhook-network", "127.0.0.0/8"]
READY = "Stop it with Ctrl-C.\n"
FOREIGN = ("STACKSONA_", "FORWARDED_ALLOW_IPS")


class GateProcess:
    """`stacksona serve` on a free port. It starts at once; `url` waits until it listens."""

    def __init__(self, db: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self._process = subprocess.Popen(
            [*COMMAND, "--db", db],
            env={**clean, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._url = ""

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._process.stdout is not None
        said: list[str] = []
        while not self._url:
            said.append(self._process.stdout.readline())
            assert said[-1], "".join(said)
            if said[-1] == READY:
                [self._url] = [line.split()[1] for line in said if line.startswith("Gate:")]
        return self._url

    def kill(self) -> None:
        """SIGKILL: it has no moment to put anything in order. May be called again."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()


class Fleet:
    """Several gate processes on one PostgreSQL database.

    Attributes:
        urls: Where they listen; the address of one that was killed stays until its successor listens.
    """

    def __init__(self, db: str, size: int, stack: ExitStack) -> None:
        self._db, self._stack = db, stack
        self._processes = [self._start() for _ in range(size)]
        self.urls = [process.url for process in self._processes]
        for url in self.urls:
            wait_until_ready(url)

    def _start(self) -> GateProcess:
        process = GateProcess(self._db)
        self._stack.callback(process.kill)
        return process

    def kill(self, number: int) -> None:
        """Kill one, and start its successor; returns when that answers."""
        self._processes[number].kill()
        successor = self._processes[number] = self._start()
        wait_until_ready(successor.url)
        self.urls[number] = successor.url


def wait_until_ready(url: str) -> None:
    """Wait until a gate that listens already answers."""
    answer = httpx.get(f"{url}/readyz", timeout=60)
    assert answer.status_code == 200, answer.text


@contextmanager
def fleet_of(db: str, size: int = 3) -> Iterator[Fleet]:
    """Gates that are ended with the block."""
    with ExitStack() as stack:
        yield Fleet(db, size, stack)


class Caller:
    """Calls one process; when it dies or answers 503, calls another, under the same Idempotency-Key.

    Args:
        fleet: The processes.
        secret: A key or token.
        first: Which process it begins with.
    """

    def __init__(self, fleet: Fleet, secret: str, first: int = 0) -> None:
        self._fleet, self._at = fleet, first
        self._client = httpx.Client(headers={"Authorization": f"Bearer {secret}"}, timeout=60)
        self.moved = 0

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str) -> httpx.Response:
        """GET."""
        return self._call("GET", path)

    def post(self, path: str, body: dict[str, Any], key: str | None = None) -> httpx.Response:
        """POST."""
        return self._call("POST", path, json=body, headers={"Idempotency-Key": key} if key else {})

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        for _ in range(5000):
            url = self._fleet.urls[self._at % len(self._fleet.urls)]
            try:
                answer = self._client.request(method, url + path, **options)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code != 503:
                return answer
            self._at += 1
            self.moved += 1
        raise AssertionError("no gate answers any more")


class Progress:
    """Counts what is done, for whoever waits for it."""

    def __init__(self) -> None:
        self._count = itertools.count(1)
        self._changed = threading.Condition()
        self._done = 0
        self.stopped = threading.Event()

    def one_more(self) -> None:
        """One more is done."""
        with self._changed:
            self._done = next(self._count)
            self._changed.notify_all()

    def wait_for_more(self, many: int) -> None:
        """Wait until so many more are done."""
        with self._changed:
            goal = self._done + many
            assert self._changed.wait_for(lambda: self._done >= goal or self.stopped.is_set(), 120), "nothing goes on"


@contextmanager
def proxied(fleet: Fleet) -> Iterator[str]:
    """The URL of a proxy that connects to the first process that lives, as one in front of a real fleet would."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            """Connect, and pass on what either side says until one of them ends."""
            with connect(fleet.urls) as upstream:
                answers = threading.Thread(target=pump, args=(upstream, self.request))
                answers.start()
                pump(self.request, upstream)
                answers.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def connect(urls: list[str]) -> socket.socket:
    """A connection to the first that takes one; one that is closed already where none does."""
    for url in urls:
        with suppress(OSError):
            return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port))
    return socket.socket()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes; when it ends, so does the other side."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
