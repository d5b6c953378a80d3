"""Every error of the package.

::

    StacksonaError
    ├── ActionBlocked                 the gate's answer stops the action: it did not run
    │   ├── ActionRejected            a rule or a reviewer refused it
    │   ├── RevisionRequested         a reviewer wants a changed proposal
    │   ├── ActionExpired             nobody decided in time
    │   ├── ActionCancelled           the request was withdrawn
    │   ├── ActionMismatch            what was about to run is not what was approved
    │   ├── InvalidEdit               the reviewer's edited arguments do not fit the tool
    │   ├── AlreadyTaken              the permission was used before
    │   └── OutcomeUnknown            it was used before and nobody knows how it ended
    ├── ReviewPending                 control flow: a person has not decided yet
    ├── GateError                     the gate could not be asked: the action did not run
    │   ├── GateUnavailable           no connection, time-out, 429, 5xx
    │   ├── GateAuthenticationError   401
    │   ├── GateRequestRefused        the gate did not accept the request (400, 403, 404, 409, 413, 422)
    │   └── GateProtocolError         the answer cannot be trusted
    └── ConfigurationError            the caller's mistake, found before anything was sent
        ├── InvalidAction             the action cannot be described to a gate
        ├── MissingExtra              an optional dependency is not installed
        ├── UnsupportedVersion        it is installed in a version that is not supported
        └── BrokenExtra               it is installed and its import fails

All of them pickle, so that they cross process pools and checkpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class DecisionFacts(Protocol):
    """What an error says of a decision; `stacksona_adapters.protocol.Decision` has it all."""

    @property
    def id(self) -> str:
        """The decision's id, or the thread's where the gate gives no decision id."""
        ...

    @property
    def status(self) -> str:
        """One of the statuses of the wire contract."""
        ...

    @property
    def message(self) -> str | None:
        """What the reviewer or the rule says to the agent."""
        ...


class StacksonaError(Exception):
    """The root of every error that this package raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[StacksonaError], args: tuple[Any, ...], state: Mapping[str, Any]) -> StacksonaError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ActionBlocked(StacksonaError):
    """The action did not run, because of the gate's answer.

    Attributes:
        action: The action's name, as the gate was asked.
        decision: The decision that stopped it; `None` where there was none to trust.
    """

    ran = "did not run"
    happened = "was stopped"
    advice = "Do not call it again with the same arguments."

    def __init__(self, action: str, decision: DecisionFacts | None = None, detail: str | None = None) -> None:
        self.action = action
        self.decision = decision
        self.detail = detail or (decision.message if decision is not None else None)
        super().__init__(self._text())

    @property
    def decision_id(self) -> str | None:
        """The id of the decision, for the transcript and the trail."""
        return self.decision.id if self.decision is not None else None

    def _text(self) -> str:
        of = f" (decision {self.decision_id})" if self.decision is not None else ""
        why = f": {self.detail.rstrip('.')}" if self.detail else ""
        return f"{self.action} {self.ran}: it {self.happened}{of}{why}. {self.advice}"


class ActionRejected(ActionBlocked):
    """A rule or a reviewer refused the action."""

    happened = "was rejected"


class RevisionRequested(ActionBlocked):
    """A reviewer wants a changed proposal; a new request should name this decision in `revises`."""

    happened = "was sent back for changes"
    advice = "Make the changes and propose it again."


class ActionExpired(ActionBlocked):
    """Nobody decided before the request's time was over."""

    happened = "was not decided in time"
    advice = "Ask again if it is still wanted."


class ActionCancelled(ActionBlocked):
    """The request was withdrawn before a decision."""

    happened = "was withdrawn"
    advice = "Ask again if it is still wanted."


class ActionMismatch(ActionBlocked):
    """What was about to run is not what the decision approved."""

    happened = "was about to run with other arguments than those approved"
    advice = "Ask again for the arguments that shall run."


class InvalidEdit(ActionBlocked):
    """A reviewer's edited arguments do not fit the tool's own schema."""

    happened = "was approved with edited arguments that the tool does not accept"
    advice = "The reviewer is told; ask again."


class AlreadyTaken(ActionBlocked):
    """The permission was used before: the action ran already, here or in another process."""

    ran = "did not run again"
    happened = "has used up this permission"
    advice = "Ask again if it shall run once more."


class OutcomeUnknown(AlreadyTaken):
    """The permission was used before and no outcome was reported: it may or may not have run.

    A person settles it: in the inbox, or with `stacksona settle`. Until then it does not run again.
    """

    happened = "was taken before and its outcome was never reported, so it may have run"
    advice = "A person settles it in the gate's inbox: it ran, or it did not and may run once."


class ReviewPending(StacksonaError):
    """A person has not decided yet; not an error but the way to pause.

    It carries all that a later process needs: ask again for the same `action`, and the gate answers with this decision.

    Attributes:
        action: The `Action` that waits (its identity fields filled in).
        decision: The pending `Decision`.
    """

    def __init__(self, action: Any, decision: DecisionFacts) -> None:
        self.action = action
        self.decision = decision
        name = getattr(action, "name", str(action))
        super().__init__(f"{name} did not run: it waits for a reviewer (decision {decision.id}). Resume it later.")


class GateError(StacksonaError):
    """The gate could not be asked or its answer not be used; the action did not run."""


class GateUnavailable(GateError):
    """The gate could not be reached or has no time (no connection, time-out, 429, 5xx), retries included."""


class GateAuthenticationError(GateError):
    """The gate does not know the key (401)."""


class GateRequestRefused(GateError):
    """The gate did not accept the request.

    Attributes:
        status_code: The HTTP status.
        problem: The answer's problem details (RFC 9457) as a mapping, empty where it sent none.
    """

    def __init__(self, message: str, status_code: int = 0, problem: Mapping[str, Any] | None = None) -> None:
        self.status_code = status_code
        self.problem = dict(problem or {})
        super().__init__(message)

    def earlier(self, name: str) -> str:
        """The id of what the same idempotency key made before, which our own gate names in its 422.

        Args:
            name: The problem's member that holds it.

        Raises:
            GateRequestRefused: This very error, where the gate names nothing.
        """
        value = self.problem.get(name)
        if self.status_code != 422 or not isinstance(value, str) or not value:
            raise self
        return value


class GateProtocolError(GateError):
    """The gate's answer cannot be trusted: not JSON, a field missing, an unknown word, another request's answer."""


class ConfigurationError(StacksonaError):
    """The caller's mistake, found before anything was sent."""


class InvalidAction(ConfigurationError, ValueError):
    """The action cannot be described to a gate, for example an argument that is not JSON."""


class MissingExtra(ConfigurationError, ModuleNotFoundError):
    """An optional dependency is not installed; the message says which extra brings it."""


class UnsupportedVersion(ConfigurationError, ImportError):
    """An optional dependency is installed in a version that this package does not support."""


class BrokenExtra(ConfigurationError, ImportError):
    """An optional dependency is installed and its own import fails; the cause is chained."""
