"""The receiving side of a gate's webhooks: verify, parse, and know that a decision was made.

A webhook says *that* a reviewer decided; what may run is still asked of the gate, with the same action. So a forged or
repeated webhook can at most wake a suspended agent too early.

Source: Standard Webhooks (https://www.standardwebhooks.com).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from stacksona_adapters.errors import ConfigurationError, GateProtocolError
from stacksona_adapters.protocol.reviews import DecisionWebhook

__all__ = ["TOLERANCE", "DecisionWebhook", "WebhookReceiver"]

TOLERANCE = 300.0
"""Seconds that a webhook's time may differ from the receiver's clock."""


class WebhookReceiver:
    """Verifies webhooks of one agent.

    Args:
        secret: The agent's webhook secret, `whsec_...` (several, separated by spaces, while one is replaced).
        clock: Gives the present time in seconds since 1970.

    Raises:
        ConfigurationError: If the secret is not one.
    """

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._keys = [_key(part) for part in secret.split()]
        self._clock = clock
        if not self._keys:
            raise ConfigurationError("No webhook secret; `stacksona agent add NAME --webhook URL` shows it once.")

    def read(self, body: bytes, headers: Mapping[str, str]) -> DecisionWebhook:
        """The decision in a webhook.

        Args:
            body: The request's body, exactly as it came.
            headers: The request's headers, in any case.

        Returns:
            Which thread was decided and how. Answer the request with a 2xx, then ask the gate.

        Raises:
            GateProtocolError: If it is not signed by the gate, too old, or not a decision; answer with a 400.
        """
        given = {name.lower(): value for name, value in headers.items()}
        self._verify(body, given)
        try:
            return DecisionWebhook.model_validate_json(body)
        except ValidationError as error:
            raise GateProtocolError(f"The webhook is signed but is no decision: {error}") from error

    def _verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        message_id, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        signatures = headers.get("webhook-signature", "")
        if not message_id or not signatures or not (sent.isascii() and sent.isdigit()):
            raise GateProtocolError("The webhook is not signed: a webhook-... header is missing or not readable.")
        if abs(self._clock() - int(sent)) > TOLERANCE:
            raise GateProtocolError(f"The webhook's time is more than {TOLERANCE:g} s away from this machine's.")
        signed = f"{message_id}.{sent}.".encode() + body
        expected = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()) for key in self._keys]
        found = [part.removeprefix("v1,").encode() for part in signatures.split() if part.startswith("v1,")]
        if not any(hmac.compare_digest(one, other) for one in expected for other in found):
            raise GateProtocolError("The webhook's signature is not the gate's.")


def _key(secret: str) -> bytes:
    text = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ConfigurationError("The webhook secret is not one: it reads whsec_ and base64.")
    return key
