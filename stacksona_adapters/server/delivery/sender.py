"""One attempt to deliver a webhook, signed as the Standard Webhooks specification says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import httpx
from standardwebhooks import Webhook

from stacksona_adapters.server.delivery.addresses import AddressRefused, Network, resolve

_REASON = 300


@dataclass(frozen=True)
class Message:
    """A webhook to deliver.

    Attributes:
        delivery_id: Its `webhook-id`, the same in every attempt.
        url: The agent's own URL.
        secret: The agent's secret, `whsec_...`.
        body: The JSON text.
    """

    delivery_id: str
    url: str
    secret: str
    body: str


@dataclass(frozen=True)
class Result:
    """How an attempt ended.

    Attributes:
        status: The HTTP status; `None` where there was none.
        error: What went wrong; `None` for a success.
        seconds: How long it took.
        final: Whether another attempt makes no sense (410 Gone).
    """

    status: int | None
    error: str | None
    seconds: float
    final: bool = False


async def send(message: Message, at: datetime, allowed: Sequence[Network], timeout: float) -> Result:
    """Make one attempt. Redirects are not followed, proxies of the environment not used, the answer's body not read.

    Args:
        message: What to deliver.
        at: The present moment, for the signature.
        allowed: Networks that the operator allows.
        timeout: Seconds for the whole attempt.
    """
    started = time.monotonic()
    status: int | None = None
    try:
        status = await asyncio.wait_for(_post(message, at, allowed, timeout), timeout)
    except AddressRefused as error:
        why: str | None = f"refused: {error}"
    except asyncio.TimeoutError:
        why = f"no answer within {timeout:g} s"
    except (httpx.HTTPError, OSError, UnicodeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
    else:
        why = None if 200 <= status < 300 else f"the receiver answered {status}"
    return Result(status, why and why[:_REASON], time.monotonic() - started, final=status == 410)


async def _post(message: Message, at: datetime, allowed: Sequence[Network], timeout: float) -> int:
    target = await resolve(message.url, allowed)
    headers = {
        "Host": target.host,
        "Content-Type": "application/json",
        "User-Agent": "stacksona-gate",
        "webhook-id": message.delivery_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(message.secret).sign(message.delivery_id, at, message.body),
    }
    async with (
        httpx.AsyncClient(timeout=timeout, trust_env=False, follow_redirects=False) as client,
        client.stream(
            "POST",
            target.url,
            content=message.body.encode(),
            headers=headers,
            extensions={"sni_hostname": target.name},
        ) as response,
    ):
        return response.status_code
