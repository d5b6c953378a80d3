"""The shipped refunds and their reader."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from stacksona_adapters.demo.refunds import COLUMNS, load_refunds
from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.protocol.canonical import action_digest

HEADER = ",".join(COLUMNS)
GOOD = "R1,O1,Ann,ann@example.com,Cup,12.50,EUR,broken,2026-10-01T10:00:00+02:00"


def write(path: Path, *lines: str) -> Path:
    """A file of these lines."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_shipped_file_has_what_the_demo_needs() -> None:
    """At least 48 requests, among them every kind of trouble."""
    requests = load_refunds()
    text = "".join(request.reason + request.customer + request.product for request in requests)
    amounts = [request.amount for request in requests]

    assert len(requests) >= 48
    assert max(Counter(request.id for request in requests).values()) == 2
    assert len({request.order_id for request in requests}) < len({request.id for request in requests})
    assert min(amounts) < 0
    assert Decimal(0) in amounts
    assert max(amounts) > 10**9
    assert {"EUR", "USD", "GBP", "JPY", "BTC", "EURO"} <= {request.currency for request in requests}
    assert all(
        trouble in text for trouble in ("Ignore all previous", "<script>", "\u202e", "=HYPERLINK", "\x1b[", "\u05d4")
    )
    assert max(len(request.reason) for request in requests) > 3000


def test_every_shipped_request_can_be_asked() -> None:
    """All arguments have a canonical form, and a duplicate has the digest of its original."""
    requests = load_refunds()
    digests = {
        request: action_digest("bot", "issue_refund", request.order_id, request.arguments()) for request in requests
    }

    assert all(len([1 for other in digests if other.id == request.id]) == 1 for request in requests)
    assert len(digests) == len(requests) - 1


def test_rows_limits_how_many_are_read() -> None:
    """The first ones, in the file's order."""
    assert load_refunds(rows=3) == load_refunds()[:3]


def test_own_file_with_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    """What a spreadsheet saves is read."""
    path = tmp_path / "own.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n\r\n{GOOD}\r\n".encode())

    (request,) = load_refunds(path)

    assert request.amount == Decimal("12.50")
    assert request.arguments()["amount"] == 12.5


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ((), "no column id"),
        ((HEADER.replace(",amount", ""), GOOD), "no column amount"),
        ((HEADER + ",id", GOOD + ",x"), "column id twice"),
        ((HEADER, GOOD, "R2,O2"), "line 3: 2 values"),
        ((HEADER, GOOD.replace("12.50", "twelve")), "line 2, column amount"),
        ((HEADER, GOOD.replace("12.50", "NaN")), "line 2, column amount"),
        ((HEADER, GOOD.replace("12.50", "1e5")), "line 2, column amount"),
        ((HEADER, GOOD.replace("12.50", "١٢")), "line 2, column amount"),
        ((HEADER, GOOD.replace("ann@example.com", "nobody")), "line 2, column email"),
        ((HEADER, GOOD.replace("+02:00", "")), "line 2, column requested_at"),
        ((HEADER, GOOD.replace("2026-10-01", "yesterday")), "line 2, column requested_at"),
        ((HEADER, GOOD.replace("broken", '"broken')), "not valid CSV"),
    ],
)
def test_mistakes_name_the_place(tmp_path: Path, lines: tuple[str, ...], says: str) -> None:
    """Each mistake says the line and the column."""
    path = write(tmp_path / "bad.csv", *lines)

    with pytest.raises(ConfigurationError, match=says):
        load_refunds(path)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    """A file that is not there, and one that is no text."""
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x00")

    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_refunds(tmp_path / "none.csv")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_refunds(tmp_path / "binary.csv")
