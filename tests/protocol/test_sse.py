"""The event-stream parser, fed byte by byte."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacksona_adapters.protocol.sse import EventStreamParser, ServerSentEvent, encode_comment, encode_event

STREAM = (
    b': hello\r\nid: 1\nevent: decision\ndata: {"a":\ndata: 1}\n\n'
    b"data: plain\r\r"
    b"id: 2\nevent: nothing\n\n" + "data: \u20ac\r\n\r\n".encode()
)
EVENTS = [
    ServerSentEvent("decision", '{"a":\n1}', "1"),
    ServerSentEvent("message", "plain", "1"),
    ServerSentEvent("message", "\u20ac", "2"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_the_cuts_do_not_matter(cuts: list[int]) -> None:
    """However the network cuts the bytes, the same events come out."""
    parser = EventStreamParser()
    edges = [0, *sorted(cuts), len(STREAM)]
    events = [event for a, b in itertools.pairwise(edges) for event in parser.feed(STREAM[a:b])]

    assert events == EVENTS


@pytest.mark.parametrize("data", ["one", "two\nlines", '{"a": 1}', ""])
def test_what_is_encoded_is_parsed(data: str) -> None:
    """Writer and parser agree; an event without data is a data line that is empty."""
    parser = EventStreamParser()
    [event] = parser.feed(encode_comment("alive") + encode_event("decision", data, "7"))

    assert event == ServerSentEvent("decision", data, "7")
