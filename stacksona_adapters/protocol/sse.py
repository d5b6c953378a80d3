"""Server-sent events: a push parser and the writer's side.

Source: the HTML standard, section 9.2 (event streams).
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSentEvent:
    """One event: its name, its data lines joined, and the last id seen (`""` where there was none)."""

    event: str
    data: str
    id: str


class EventStreamParser:
    """Takes bytes as they come and returns the events that they complete."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._buffer = ""
        self._event = ""
        self._data: list[str] = []
        self.last_event_id = ""

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Add bytes.

        Args:
            chunk: The next bytes of the stream, cut anywhere.

        Returns:
            The events that are complete now, in order.
        """
        self._buffer += self._decoder.decode(chunk)
        # A trailing "\r" may be half of "\r\n": leave it for the next chunk.
        held = "\r" if self._buffer.endswith("\r") else ""
        text = self._buffer[: len(self._buffer) - len(held)].replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = text.split("\n")
        self._buffer = rest + held
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self.last_event_id = value
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        event, data = self._event or "message", self._data
        self._event, self._data = "", []
        return ServerSentEvent(event, "\n".join(data), self.last_event_id) if data else None


def encode_event(event: str, data: str, event_id: str | None = None) -> bytes:
    """One event as bytes. `data` may have several lines."""
    head = f"id: {event_id}\n" if event_id is not None else ""
    body = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"{head}event: {event}\n{body}\n".encode()


def encode_comment(text: str = "") -> bytes:
    """A comment line, which keeps a connection alive."""
    return f": {text}\n\n".encode()
