"""A gate that misbehaves: a real HTTP server whose answers a test scripts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Seen:
    """A request as the server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What the server sends back; `hang` waits until the test is over instead."""

    status: int = 200
    body: Any = None
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drop: bool = False


class HostileGate:
    """The server's address, its script and what it saw."""

    def __init__(self, url: str, answer: Callable[[Seen], Reply]) -> None:
        self.url = url
        self.answer = answer
        self.seen: list[Seen] = []

    def calls(self, part: str) -> list[Seen]:
        """The requests whose path contains a text."""
        return [seen for seen in self.seen if part in seen.path]


@contextmanager
def hostile_gate(answer: Callable[[Seen], Reply]) -> Iterator[HostileGate]:
    """A server on a free port that answers by a script.

    Args:
        answer: Gets each request and says what to send back.
    """
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(length)
            seen = Seen(
                self.command,
                self.path,
                {name.lower(): value for name, value in self.headers.items()},
                json.loads(raw) if raw else None,
            )
            gate.seen.append(seen)
            self.send_reply(gate.answer(seen))

        def send_reply(self, reply: Reply) -> None:
            if reply.hang:
                over.wait(30)
            if reply.drop or reply.hang:
                self.close_connection = True
                return
            content = reply.raw if reply.raw is not None else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = handle_any

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    gate = HostileGate(f"http://127.0.0.1:{server.server_address[1]}", answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield gate
    finally:
        over.set()
        server.shutdown()
        server.server_close()
