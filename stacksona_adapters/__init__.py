"""One gate in front of the actions of Python agents.

Adapters are modules of their own (`stacksona_adapters.pydantic_ai`, ...), each behind its pip extra; nothing here
imports a framework or the server.
"""

from stacksona_adapters.client.gate import DEFAULT, AnyGate, AsyncGate, Gate, Permit
from stacksona_adapters.client.raw import AsyncGateClient, GateClient
from stacksona_adapters.client.settings import Settings, Timeouts, load_settings
from stacksona_adapters.errors import (
    ActionBlocked,
    ActionCancelled,
    ActionExpired,
    ActionMismatch,
    ActionRejected,
    AlreadyTaken,
    ConfigurationError,
    GateAuthenticationError,
    GateError,
    GateProtocolError,
    GateRequestRefused,
    GateUnavailable,
    InvalidAction,
    InvalidEdit,
    OutcomeUnknown,
    ReviewPending,
    RevisionRequested,
    StacksonaError,
)
from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.prepare import Asked
from stacksona_adapters.gating.redaction import Redaction
from stacksona_adapters.protocol.decisions import Decision, Outcome, Status
from stacksona_adapters.protocol.requests import Risk
from stacksona_adapters.protocol.tasks import EventType, FrameworkOrigin

__all__ = [
    "DEFAULT",
    "Action",
    "ActionBlocked",
    "ActionCancelled",
    "ActionExpired",
    "ActionMismatch",
    "ActionRejected",
    "AlreadyTaken",
    "AnyGate",
    "Approval",
    "Asked",
    "AsyncGate",
    "AsyncGateClient",
    "ConfigurationError",
    "Decision",
    "EventType",
    "FrameworkOrigin",
    "Gate",
    "GateAuthenticationError",
    "GateClient",
    "GateError",
    "GateProtocolError",
    "GateRequestRefused",
    "GateUnavailable",
    "InvalidAction",
    "InvalidEdit",
    "Outcome",
    "OutcomeUnknown",
    "Permit",
    "Redaction",
    "ReviewPending",
    "RevisionRequested",
    "Risk",
    "Settings",
    "StacksonaError",
    "Status",
    "Timeouts",
    "load_settings",
]
