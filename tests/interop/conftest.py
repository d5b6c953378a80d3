"""A gate whose people sign in at a real OpenID provider, and browsers without a screen to do it with."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest

from stacksona_adapters.server.clock import ManualClock
from stacksona_adapters.server.oidc.settings import OidcSettings
from stacksona_adapters.server.settings import ServerSettings
from stacksona_adapters.testing import RunningGate
from tests.interop.node import Provider, running_provider
from tests.server.inbox_tools import find_form, forms, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECRET = "s3cret with / + and : in it, which is long enough"
ANN = {"email": "ann@example.com", "name": "Ann", "preferred_username": "ann"}


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider that knows Ann and Bob."""
    with running_provider() as running:
        running.person("ann", **ANN)
        running.person("bob", email="bob@example.com", preferred_username="bob")
        yield running


@dataclass
class Site:
    """A gate, its clock and its provider."""

    gate: RunningGate
    clock: ManualClock
    provider: Provider
    browsers: list[httpx.Client] = field(default_factory=list)

    def browser(self) -> Browser:
        """A new browser without cookies."""
        self.browsers.append(httpx.Client(timeout=30, trust_env=False))
        return Browser(self, self.browsers[-1])

    def journal(self, kind: str) -> list[dict[str, Any]]:
        """What the gate's own chain has of a kind, oldest first."""
        from stacksona_adapters.server.service import journal

        listed = self.gate.service.read(lambda read: journal.listed(read, limit=1000))
        return [{**entry.said, "by": entry.by} for entry in reversed(listed) if entry.kind == kind]

    def roles(self) -> dict[str, str]:
        """Everybody's role."""
        from stacksona_adapters.server.service import accounts

        return {name: role.value for name, (role, _) in self.gate.service.read(accounts.roles).items()}


class Browser:
    """Follows redirects, keeps cookies, and fills in the provider's own pages.

    Args:
        site: The gate.
        http: The client.
    """

    def __init__(self, site: Site, http: httpx.Client) -> None:
        self.site, self.http = site, http

    def get(self, path: str) -> httpx.Response:
        """A page of the gate; no redirect is followed."""
        return self.http.get(self.site.gate.url + path)

    def begin(self, path: str = "/inbox/sign-in/oidc") -> str:
        """Press the button; where it leads at the provider."""
        answer = self.get(path)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def back(self, where: str, login: str = "ann") -> str:
        """Go through the provider's pages as somebody, up to the address that leads back to the gate."""
        for _ in range(12):
            if where.startswith(self.site.gate.url):
                return where
            answer = self.http.get(where)
            if answer.status_code == 200:
                form = next(each for each in forms(answer.text) if "/interaction/" in each.action)
                entered = {**dict(form.values), "login": login, "password": "any"}
                answer = self.http.post(urljoin(where, form.action), data=entered)
            assert answer.is_redirect, answer.text
            where = urljoin(where, answer.headers["location"])
        raise AssertionError(f"the provider leads nowhere: {where}")

    def finish(self, where: str) -> httpx.Response:
        """Open the address that leads back to the gate; its answer, no redirect followed."""
        return self.http.get(where)

    def sign_in(self, login: str = "ann", path: str = "/inbox/sign-in/oidc") -> httpx.Response:
        """The whole way; the gate's last answer."""
        return self.finish(self.back(self.begin(path), login))

    def name(self) -> str | None:
        """Who is signed in at the gate."""
        answer = self.get("/inbox/account")
        if answer.status_code != 200:
            return None
        return text_of(answer.text.partition("<h1>")[2].partition("</h1>")[0])

    def sign_out(self) -> httpx.Response:
        """Press the gate's button."""
        form = find_form(self.get("/inbox/account").text, "/sign-out")
        headers = {"Sec-Fetch-Site": "same-origin"}
        return self.http.post(self.site.gate.url + form.action, data=dict(form.values), headers=headers)


def asked(where: str) -> dict[str, str]:
    """The parameters of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(where).query).items()}


@pytest.fixture
def start(provider: Provider, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Starts a gate at the provider; what is said changes `OidcSettings`."""
    with ExitStack() as stack:

        def run(**changed: Any) -> Site:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            url, clock = f"http://127.0.0.1:{port}", ManualClock()
            chosen = {"issuer": provider.issuer, "client_id": "gate", "client_secret": SECRET, "public_url": url}
            oidc = OidcSettings(**{**chosen, "provider": "Example ID", **changed})
            provider.change(redirect_uri=oidc.redirect_uri, signed_out_uri=oidc.signed_out_uri)
            settings = ServerSettings(
                db_url=tmp_path / "gate.db", port=port, clock=clock, public_url=url, oidc=oidc, sweep_interval=60
            )
            site = Site(stack.enter_context(RunningGate(settings, tmp_path)), clock, provider)
            stack.callback(lambda: [each.close() for each in site.browsers])
            return site

        yield run


@pytest.fixture
def site(start: Callable[..., Site]) -> Site:
    """A gate at the provider, with the reviewer ann@example.com."""
    site = start()
    site.gate.reviewer_token("ann@example.com")
    return site
