"""Gates that are not there, and gates that answer what no gate should."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from typing_extensions import Self

LIES: dict[str, tuple[int, Any]] = {
    "not JSON": (200, "<html>approved</html>"),
    "an unknown word": (200, {"decision": "SURE", "decision_id": "dec_1", "status": "sure"}),
    "no id": (200, {"decision": "APPROVED", "status": "approved"}),
    "a text that is not true": (200, {"decision": "APPROVED", "approved": "false", "decision_id": "dec_1"}),
    "another action": (200, {"decision": "APPROVED", "decision_id": "dec_1", "action_digest": "sha256:" + "0" * 64}),
    "an error": (500, {"title": "broken"}),
}
"""Answers to a request for a decision that let nothing run: status code and body."""


def nobody() -> str:
    """The URL of a port of this machine where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    return f"http://127.0.0.1:{port}"


class BrokenGate:
    """Takes every call and answers requests for a decision with one fixed answer. Use it in a `with`.

    Args:
        status: The answer's status code.
        body: The answer's body: a text as it is, anything else as JSON.

    Attributes:
        calls: The calls that came, as `"POST /v1/tasks"`.
    """

    def __init__(self, status: int = 500, body: Any = "") -> None:
        self.calls: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.calls, status, body))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(calls: list[str], status: int, body: Any) -> type[BaseHTTPRequestHandler]:
    text = body if isinstance(body, str) else json.dumps(body)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(status, text)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path == "/v1/tasks":
                self._answer(201, json.dumps({"task_id": "task_1"}))
            elif self.path.endswith("/events"):
                self._answer(201, json.dumps({"event_id": "evt_1"}))
            else:
                self._answer(status, text)

        def _answer(self, code: int, content: str) -> None:
            calls.append(f"{self.command} {self.path}")
            data = content.encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
            """Say nothing."""

    return Handler
