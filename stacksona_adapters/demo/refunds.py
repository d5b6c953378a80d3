"""The shop's refund requests: the shipped file, and a reader that names the line of every mistake."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from stacksona_adapters.errors import ConfigurationError


class RefundRequest(BaseModel):
    """One customer's wish, as the shop's form wrote it down. Nothing in it can be trusted but its types.

    Attributes:
        id: The request's id, such as `RF-1001`.
        order_id: The order it is about.
        customer: The customer's name.
        email: The customer's address.
        product: What was bought.
        amount: What the customer wants back, in `currency`; may be zero or negative, which is for the gate to stop.
        currency: The currency as the form had it; normally an ISO 4217 code.
        reason: What the customer wrote.
        requested_at: When, with its offset from UTC.
    """

    model_config = ConfigDict(frozen=True, str_strip_whitespace=True, extra="forbid")

    id: str = Field(min_length=1, max_length=100)
    order_id: str = Field(min_length=1, max_length=100)
    customer: str = Field(min_length=1, max_length=500)
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    product: str
    amount: Decimal = Field(allow_inf_nan=False, max_digits=18, decimal_places=3)
    currency: str = Field(min_length=1, max_length=10)
    reason: str
    requested_at: AwareDatetime

    @field_validator("amount", mode="before")
    @classmethod
    def _plain_number(cls, value: Any) -> Any:
        # Decimal reads underscores, exponents and digits of every script; a shop's file has none of them.
        if isinstance(value, str) and set(value.strip()) - set("-.0123456789"):
            raise ValueError("not a plain number such as 12.50")
        return value

    def arguments(self) -> dict[str, Any]:
        """What the agent passes to the tool `issue_refund`."""
        return {
            "order_id": self.order_id,
            "customer": self.customer,
            "amount": float(self.amount),
            "currency": self.currency,
            "reason": self.reason,
        }


COLUMNS = tuple(RefundRequest.model_fields)


def load_refunds(path: str | Path | None = None, *, rows: int | None = None) -> list[RefundRequest]:
    """Read refund requests from a CSV file (RFC 4180, UTF-8, a header line).

    Args:
        path: The file; the one shipped with this package where it is `None`.
        rows: How many to read from the top; all where it is `None`.

    Returns:
        The requests in the file's order, duplicates included: a customer may click twice.

    Raises:
        ConfigurationError: If the file cannot be read, lacks a column or has a wrong value; names the line.
    """
    name = "refunds.csv" if path is None else str(path)
    try:
        found = resources.files("stacksona_adapters.demo").joinpath(name) if path is None else Path(path)
        text = found.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name} is not UTF-8 (byte {error.start}); save it as UTF-8.") from error
    requests: list[RefundRequest] = []
    for request in _read(text, name):
        if rows is not None and len(requests) >= rows:
            break
        requests.append(request)
    return requests


def _read(text: str, name: str) -> Iterator[RefundRequest]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        _check_header(header, name)
        for values in reader:
            if values:
                yield _request(header, values, f"{name}, line {reader.line_num}")
    except csv.Error as error:
        raise ConfigurationError(f"{name}, line {reader.line_num}: not valid CSV ({error}).") from error


def _check_header(header: list[str], name: str) -> None:
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise ConfigurationError(
            f"{name} has no column {', '.join(missing)}; its first line must name {','.join(COLUMNS)}."
        )
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise ConfigurationError(f"{name} has the column {', '.join(twice)} twice.")


def _request(header: list[str], values: list[str], where: str) -> RefundRequest:
    if len(values) != len(header):
        raise ConfigurationError(f"{where}: {len(values)} values where the header names {len(header)} columns.")
    try:
        named = zip(header, values, strict=True)
        return RefundRequest.model_validate({key: value for key, value in named if key in COLUMNS})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        column = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{where}, column {column}: {first['msg']}.") from error
