"""Tells people that requests wait for them, through Apprise (Slack, Teams, e-mail, ...); a burst is one message."""

from __future__ import annotations

import asyncio
import logging
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import apprise

from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.server.delivery.worker import until
from stacksona_adapters.server.service import notices
from stacksona_adapters.server.store.writer import StoreUnavailable

if TYPE_CHECKING:
    from stacksona_adapters.server.api.http import Served

LINES = 10
_LONGEST = 80
_ATTEMPTS = 4
_FIRST_PAUSE = 2.0
# No part of an agent's text may become a link, a mention or markup in a chat or a mail.
_DEFUSED = str.maketrans(
    {"<": "\u2039", ">": "\u203a", "@": "\uff20", "`": "'", "*": "\u2217", "[": "(", "]": ")", "|": "/"}
)

log = logging.getLogger("stacksona.delivery")


def plain(text: str) -> str:
    """An agent's text for a message: one short line, without control characters, markup, mentions or links."""
    visible = "".join(c if unicodedata.category(c)[0] not in "CZ" or c == " " else " " for c in text)
    line = " ".join(visible.split()).translate(_DEFUSED).replace("://", ":/\u200b/").replace("_", "\u02cd")
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "\u2026"


def compose(waiting: Sequence[notices.Waiting], inbox: str) -> tuple[str, str]:
    """Title and body of a message about requests that wait.

    Args:
        waiting: The requests, oldest first.
        inbox: The URL of the inbox.
    """
    many = len(waiting)
    title = f"{many} requests wait for a reviewer" if many > 1 else "A request waits for a reviewer"
    lines = [_line(one) for one in waiting[:LINES]]
    if many > LINES:
        lines.append(f"and {many - LINES} more")
    link = f"{inbox}/requests/{waiting[0].decision_id}" if many == 1 else inbox
    return title, "\n".join([*lines, "", link])


def _line(one: notices.Waiting) -> str:
    subject = f" for {plain(one.subject)}" if one.subject else ""
    return f"{one.risk}: {plain(one.action)} by {plain(one.agent)}{subject}" + (one.approved and f", {one.approved}")


class Notifier:
    """Sends messages until it is cancelled.

    Args:
        served: The running gate.
        urls: Apprise URLs, such as `slack://...` or `mailto://...`.

    Raises:
        ConfigurationError: If Apprise does not know one of them.
    """

    def __init__(self, served: Served, urls: Sequence[str]) -> None:
        self._served = served
        self._settings = served.gate.settings
        self._apprise = apprise.Apprise()
        for url in urls:
            if not self._apprise.add(url):
                raise ConfigurationError(f"Apprise does not know the notification URL {url.partition(':')[0]}:...")

    async def run(self) -> None:
        """Look for new requests whenever a decision changed; wait `notify_delay` for the rest of a burst."""
        if not self._apprise:
            return
        with self._served.changes.waiting("*") as changed:
            while True:
                changed.clear()
                try:
                    await self._look()
                except StoreUnavailable as error:
                    log.warning("waiting requests cannot be read, trying again: %s", error)
                await until(changed, self._settings.sweep_interval)

    async def _look(self) -> None:
        if not await self._served.read(notices.unannounced):
            return
        await asyncio.sleep(self._settings.notify_delay)
        claimed = await self._served.write(notices.claim)
        if claimed is not None:
            if claimed.waiting:
                await self._send(*compose(claimed.waiting, self._settings.inbox_url))
            await self._served.write(lambda write: notices.told(write, claimed))

    async def _send(self, title: str, body: str) -> None:
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_FIRST_PAUSE * 4 ** (attempt - 1))
            sent = await self._apprise.async_notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT)
            if sent:
                return
        log.error("nobody could be notified that requests wait: every notification service failed %d times", _ATTEMPTS)
