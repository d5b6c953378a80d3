"""The reviewer's side of a gate over HTTP: what the command line, the test kit and own tools decide with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

from stacksona_adapters.client.exchange import Attempt, Pause, drive, exchange
from stacksona_adapters.client.settings import Settings, Timeouts, load_settings
from stacksona_adapters.client.transport import Transport
from stacksona_adapters.errors import GateAuthenticationError
from stacksona_adapters.gating.effects import Effect
from stacksona_adapters.protocol.answers import read_v1
from stacksona_adapters.protocol.calls import Answer, Call, json_object, read_model
from stacksona_adapters.protocol.canonical import jsonable
from stacksona_adapters.protocol.decisions import Decision
from stacksona_adapters.protocol.grants import Grant, GrantPage
from stacksona_adapters.protocol.reviews import Folder, Review, ReviewDetail, ReviewPage

T = TypeVar("T")


class ReviewerClient:
    """The reviewer's API (wire contract, section 6), from any thread.

    Args:
        url: The gate's base URL.
        token: The reviewer's token (`sr_...`).
        timeouts: The patience of a call.

    Raises:
        ConfigurationError: If URL or token are unusable.
    """

    def __init__(self, url: str, token: str, *, timeouts: Timeouts | None = None) -> None:
        self._settings: Settings = load_settings(url, token, "v1", timeouts)
        self._transport = Transport(self._settings)

    @property
    def url(self) -> str:
        """The gate's base URL."""
        return self._settings.url

    def reviews(self, folder: Folder | str = Folder.NEW) -> Iterator[Review]:
        """Every request in a folder, page by page.

        Raises:
            GateError: If the gate cannot be asked or refuses; as every method here.
        """
        query = {"folder": str(folder)}
        while True:
            page = self._send(Call("GET", "/v1/reviews", read_model(ReviewPage), query=query))
            yield from page.reviews
            if page.next is None:
                return
            query["cursor"] = page.next

    def review(self, decision_id: str) -> ReviewDetail:
        """One request with its context, timeline and notes."""
        return self._send(Call("GET", _path(decision_id), read_model(ReviewDetail)))

    def decide(
        self,
        decision_id: str,
        outcome: str,
        *,
        message: str | None = None,
        arguments: dict[str, Any] | None = None,
        action_digest: str | None = None,
        grant: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Decide a pending request.

        Args:
            decision_id: Which one.
            outcome: `approve`, `reject` or `revise`.
            message: What the agent is told.
            arguments: Edited arguments, with which the action runs instead.
            action_digest: The version that the reviewer saw; the gate refuses if it changed since.
            grant: For `approve`, which later requests run without review: `limits` (for each argument, by name,
                `{"equal": value}`, `{"at_most": number, "at_least": number}` or `{"any": True}`), `max_uses`, and
                `lasts` (seconds) or `until`.

        Raises:
            GateRequestRefused: 409 if it is decided already, 422 if the edited arguments or the grant do not fit.
        """
        body = {
            "outcome": outcome,
            "message": message,
            "arguments": arguments,
            "action_digest": action_digest,
            "grant": jsonable(dict(grant), "grant") if grant is not None else None,
        }
        return self._post(decision_id, "decide", body, lambda answer: read_v1(json_object(answer)))

    def settle(self, decision_id: str, *, ran: bool, message: str | None = None) -> None:
        """Say how a taken permission ended whose outcome nobody reported.

        Args:
            decision_id: Which one.
            ran: Whether the action ran; if not, the permission is given back for one more use.
            message: Why, for the trail.
        """
        body = {"outcome": "ran" if ran else "did_not_run", "message": message}
        self._post(decision_id, "settle", body, json_object)

    def grants(self) -> Iterator[Grant]:
        """Every grant, those that have ended too, newest first, page by page."""
        query: dict[str, str] = {}
        while True:
            page = self._send(Call("GET", "/v1/grants", read_model(GrantPage), query=query))
            yield from page.grants
            if page.next is None:
                return
            query["cursor"] = page.next

    def revoke_grant(self, grant_id: str) -> Grant:
        """Revoke a grant.

        Raises:
            GateRequestRefused: 404 if there is none, 409 if it was revoked before.
        """
        return self._send(Call("DELETE", f"/v1/grants/{quote(grant_id, safe='')}", read_model(Grant)))

    def note(self, decision_id: str, text: str) -> None:
        """Save a note on a request."""
        self._post(decision_id, "notes", {"text": text}, json_object)

    def export(self, decision_id: str) -> dict[str, Any]:
        """A thread's whole history; that it was exported is recorded too."""
        return self._send(Call("GET", f"{_path(decision_id)}/export", json_object))

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> ReviewerClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _post(self, decision_id: str, verb: str, body: dict[str, Any], read: Callable[[Answer], T]) -> T:
        given = {name: value for name, value in body.items() if value is not None}
        return self._send(Call("POST", f"{_path(decision_id)}/{verb}", read, body=given))

    def _send(self, call: Call[T]) -> T:
        try:
            return drive(exchange(call, self._settings), self._perform)
        except GateAuthenticationError as error:
            raise GateAuthenticationError(
                "The gate does not accept the reviewer's token (401). `stacksona reviewer add NAME` makes one."
            ) from error

    def _perform(self, effect: Effect[Any]) -> Any:
        if isinstance(effect, Attempt):
            return self._transport.once(effect.call, effect.seconds, {})
        if isinstance(effect, Pause):
            return time.sleep(effect.seconds)
        raise TypeError(f"exchange() yields no {type(effect).__name__}")


def _path(decision_id: str) -> str:
    return f"/v1/reviews/{quote(decision_id, safe='')}"
