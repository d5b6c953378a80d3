"""A reviewer to script, over the same HTTP API that a person's page and command line use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from stacksona_adapters.client.reviews import ReviewerClient
from stacksona_adapters.errors import GateRequestRefused, GateUnavailable
from stacksona_adapters.protocol.decisions import Decision
from stacksona_adapters.protocol.reviews import Folder, Review, ReviewDetail

_LOOK_AGAIN = 0.05
"""Seconds between two looks into the folder of new requests."""


@dataclass(frozen=True)
class Verdict:
    """What a reviewer decides.

    Attributes:
        outcome: `approve`, `reject` or `revise`.
        message: What the agent is told.
        arguments: Edited arguments, for `approve`.
        grant: Which later requests run without review, for `approve`; see `ReviewerClient.decide`.
    """

    outcome: Literal["approve", "reject", "revise"]
    message: str | None = None
    arguments: dict[str, Any] | None = None
    grant: dict[str, Any] | None = None


Script = Callable[[Review], "Verdict | None"]
"""Looks at a request and decides; `None` leaves it to somebody else."""


class Reviewer:
    """Decides requests at a running gate.

    Args:
        url: The gate's base URL.
        token: A reviewer's token (`sr_...`).
        patience: Seconds that `waiting` and the methods built on it wait for a request to come.
    """

    def __init__(self, url: str, token: str, *, patience: float = 30.0) -> None:
        self.client = ReviewerClient(url, token)
        self._patience = patience
        self._quiet = threading.Event()  # never set: a wait on it is a pause

    def waiting(self, count: int = 1, *, action: str | None = None) -> list[Review]:
        """Wait until at least so many requests are pending.

        Args:
            count: How many.
            action: Only requests of this tool.

        Returns:
            All that are pending, oldest first.

        Raises:
            TimeoutError: If they do not come within the reviewer's patience.
        """
        deadline = time.monotonic() + self._patience
        while True:
            found = [review for review in self.client.reviews(Folder.NEW) if action in (None, review.action)]
            if len(found) >= count:
                return sorted(found, key=lambda review: review.created_at)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(found)} of {count} requests came within {self._patience} s")
            self._quiet.wait(_LOOK_AGAIN)

    def approve(
        self,
        decision_id: str | None = None,
        *,
        arguments: Mapping[str, Any] | None = None,
        message: str | None = None,
        grant: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Approve a request: by id, else the oldest that is pending, as soon as there is one.

        Args:
            decision_id: Which one.
            arguments: Edited arguments.
            message: What the agent is told.
            grant: Which later requests run without review; see `ReviewerClient.decide`.
        """
        edited = dict(arguments) if arguments is not None else None
        granted = dict(grant) if grant is not None else None
        return self._decide(decision_id, Verdict("approve", message, edited, granted))

    def reject(self, decision_id: str | None = None, *, message: str | None = None) -> Decision:
        """Reject a request; see `approve`."""
        return self._decide(decision_id, Verdict("reject", message))

    def revise(self, decision_id: str | None = None, *, message: str | None = None) -> Decision:
        """Send a request back for changes; see `approve`."""
        return self._decide(decision_id, Verdict("revise", message))

    def settle(self, decision_id: str, *, ran: bool, message: str | None = None) -> None:
        """Say how a permission ended whose outcome nobody reported."""
        self.client.settle(decision_id, ran=ran, message=message)

    def detail(self, decision_id: str) -> ReviewDetail:
        """A request with its timeline."""
        return self.client.review(decision_id)

    @contextmanager
    def deciding(self, script: Script | Verdict) -> Iterator[list[str]]:
        """Decide every request that comes while the block runs, on a thread of its own.

        Args:
            script: What to decide, for each or for all.

        Yields:
            The ids that were decided, growing.

        Raises:
            StacksonaError: At the end of the block, if the gate refused the reviewer.
        """
        decide = (lambda _: script) if isinstance(script, Verdict) else script
        worker = _Worker(self.client, decide)
        worker.start()
        try:
            yield worker.decided
        finally:
            worker.stop()
        if worker.failure is not None:
            raise worker.failure

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def __enter__(self) -> Reviewer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _decide(self, decision_id: str | None, verdict: Verdict) -> Decision:
        chosen = decision_id or self.waiting()[0].decision_id
        return _send(self.client, chosen, verdict)


def _send(client: ReviewerClient, decision_id: str, verdict: Verdict) -> Decision:
    return client.decide(
        decision_id,
        verdict.outcome,
        message=verdict.message,
        arguments=verdict.arguments,
        grant=verdict.grant,
    )


class _Worker(threading.Thread):
    """Looks into the folder of new requests until it is told to stop."""

    def __init__(self, client: ReviewerClient, decide: Script) -> None:
        super().__init__(name="stacksona-reviewer", daemon=True)
        self._client = client
        self._decide = decide
        self._stopped = threading.Event()
        self.decided: list[str] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        left: set[str] = set()
        try:
            while not self._stopped.is_set():
                self._look(left)
                self._stopped.wait(_LOOK_AGAIN)
        except Exception as error:  # noqa: BLE001 - raised again where the block ends
            self.failure = error

    def _look(self, left: set[str]) -> None:
        try:
            pending = [review for review in self._client.reviews(Folder.NEW) if review.decision_id not in left]
        except GateUnavailable:
            return  # it may be starting again
        for review in sorted(pending, key=lambda review: review.created_at):
            if self._stopped.is_set():
                return
            verdict = self._decide(review)
            if verdict is None:
                left.add(review.decision_id)
            else:
                self._send(review, verdict)

    def _send(self, review: Review, verdict: Verdict) -> None:
        try:
            _send(self._client, review.decision_id, verdict)
        except GateUnavailable:
            return
        except GateRequestRefused as refusal:
            if refusal.status_code != 409:  # somebody else was first, or it was withdrawn
                raise
        else:
            self.decided.append(review.decision_id)

    def stop(self) -> None:
        """Finish the decision at hand and end."""
        self._stopped.set()
        self.join()
