"""Providers that are none: what the gate makes of wrong discovery documents, and of a provider that comes back."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from stacksona_adapters.server.clock import ManualClock
from stacksona_adapters.server.oidc.errors import ProviderUnavailable
from stacksona_adapters.server.oidc.flow import Flows
from stacksona_adapters.server.oidc.provider import Provider, discover, merged
from stacksona_adapters.server.oidc.settings import OidcSettings
from tests.cli.tools import command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLOCK = ManualClock()


class Pages:
    """A web server that answers what it is told, and says what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []

    def put(self, path: str, value: Any, status: int = 200, **headers: str) -> None:
        """What a path answers."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.answers[path] = (status, headers, body)

    def document(self, **changed: Any) -> dict[str, Any]:
        """A good discovery document, changed; `None` takes a field out."""
        named = {"authorization_endpoint": "/auth", "token_endpoint": "/token", "jwks_uri": "/jwks"}
        whole = {"issuer": self.url, **{name: self.url + path for name, path in named.items()}, **changed}
        return {name: value for name, value in whole.items() if value is not None}


@pytest.fixture
def pages() -> Iterator[Pages]:
    """A web server of a provider, good as far as it goes."""
    with serving() as served:
        served.put("/.well-known/openid-configuration", served.document())
        served.put("/jwks", {"keys": []})
        yield served


@contextmanager
def serving() -> Iterator[Pages]:
    """A web server on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            status, headers, body = served.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served = Pages(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"issuer": "https://other.example"}, "other.example"),
    ({"issuer": None}, "issuer"),
    ({"token_endpoint": None, "jwks_uri": 7}, "jwks_uri, token_endpoint"),
    ({"token_endpoint": "http://other.example/token"}, "https"),
    ({"userinfo_endpoint": "file:///etc/passwd"}, "https"),
    ({"id_token_signing_alg_values_supported": ["HS256", "none"]}, "signature"),
]


@pytest.mark.parametrize(("changed", "said"), CHANGES)
def test_wrong_documents(pages: Pages, changed: dict[str, Any], said: str) -> None:
    """Another issuer, a missing or unprotected endpoint, signatures that the gate does not check: said why."""
    pages.put("/.well-known/openid-configuration", pages.document(**changed))

    with pytest.raises(ProviderUnavailable, match=said):
        asyncio.run(discover(pages.url, CLOCK.now()))


ANSWERS: list[tuple[Any, int, dict[str, str], str]] = [
    (b"<html>", 200, {}, "no JSON"),
    ([], 200, {}, "no JSON"),
    ({}, 500, {}, "500"),
    ({}, 302, {"Location": "/elsewhere"}, "302"),
    (b"[" * (1024 * 1024 + 1), 200, {}, "longer"),
    (b"this is not compressed at all", 200, {"Content-Encoding": "gzip"}, "DecodingError"),
]


@pytest.mark.parametrize(("body", "status", "headers", "said"), ANSWERS, ids=[said for *_, said in ANSWERS])
def test_wrong_answers(pages: Pages, body: Any, status: int, headers: dict[str, str], said: str) -> None:
    """What is no JSON object of a reasonable length is no document; a redirect leads nowhere."""
    pages.put("/.well-known/openid-configuration", body, status, **headers)

    with pytest.raises(ProviderUnavailable, match=said):
        asyncio.run(discover(pages.url, CLOCK.now()))
    assert pages.asked == ["/.well-known/openid-configuration"]


def test_kept_and_left_alone(pages: Pages) -> None:
    """Documents are kept for an hour, older ones serve while the provider is down, and it is not asked all the time."""
    clock = ManualClock()
    settings = OidcSettings(issuer=pages.url, client_id="gate", client_secret="s", public_url="http://127.0.0.1:1")
    provider, flow = Provider(settings, clock), Flows(b"k" * 32).begin("/inbox", clock.now())
    pages.put("/.well-known/openid-configuration", {}, 503)

    async def play() -> None:
        with pytest.raises(ProviderUnavailable):
            await provider.authorization_url(flow)
        with pytest.raises(ProviderUnavailable):
            await provider.authorization_url(flow)
        assert len(pages.asked) == 1
        pages.put("/.well-known/openid-configuration", pages.document())
        clock.advance(timedelta(seconds=5))
        await asyncio.gather(*(provider.authorization_url(flow) for _ in range(5)))
        assert len(pages.asked) == 3
        clock.advance(timedelta(hours=1))
        pages.put("/.well-known/openid-configuration", {}, 503)
        for _ in range(3):
            assert (await provider.authorization_url(flow)).startswith(f"{pages.url}/auth?")
        assert len(pages.asked) == 4

    asyncio.run(play())


def test_verified_is_said_of_one_address() -> None:
    """Claims of the ID token go first; that another address is verified says nothing of the one in the ID token."""
    more = {"sub": "1", "email": "ann@example.com", "email_verified": True, "name": "Ann"}

    assert merged({"sub": "1"}, more) == more
    assert merged({"sub": "1", "email": "ann@example.com"}, more) == more
    assert merged({"sub": "1", "name": "A", "email_verified": False}, more) == {
        **more,
        "name": "A",
        "email_verified": False,
    }
    other = merged({"sub": "1", "email": "root@example.com"}, more)
    assert (other["email"], "email_verified" in other) == ("root@example.com", False)


def test_doctor(pages: Pages, tmp_path: Path) -> None:
    """`stacksona doctor` reads the discovery document and the keys, and says what is wrong with them."""
    key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "use": "sig"}
    pages.put("/jwks", {"keys": [key]})
    fine = command("doctor", "--db", str(tmp_path / "gate.db"), "--oidc-issuer", pages.url)
    pages.put("/jwks", {"keys": []})
    bad = command("doctor", "--db", str(tmp_path / "gate.db"), "--oidc-issuer", pages.url)

    assert "publishes its endpoints and 1 key" in fine.out
    assert "key set has no key" in bad.out
    assert bad.code == 1
