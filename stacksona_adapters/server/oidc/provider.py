"""The calls to the provider: discovery, keys, the exchange of a code, the rest of the claims."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.client import OAuth2Client
from authlib.oidc.discovery import get_well_known_url
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.server.oidc.errors import NotBelieved, ProviderUnavailable
from stacksona_adapters.server.oidc.person import needed
from stacksona_adapters.server.oidc.settings import check_url
from stacksona_adapters.server.oidc.tokens import ALGORITHMS, Expected, UnknownKey, checked

if TYPE_CHECKING:
    from stacksona_adapters.server.clock import Clock
    from stacksona_adapters.server.oidc.flow import Flow
    from stacksona_adapters.server.oidc.settings import OidcSettings

FRESH = timedelta(hours=1)
"""How long a discovery document and a key set are used before they are fetched again."""

PAUSE = timedelta(seconds=5)
"""After a failure the provider is left alone for so long."""

_TIMEOUT = 10.0  # seconds for a whole call
_STEP = 5.0  # seconds for a connection, or between two pieces of an answer
_LONGEST = 1024 * 1024

log = logging.getLogger("stacksona.sign_in")


class Metadata(BaseModel):
    """What the gate uses of a discovery document (OpenID Connect Discovery 1.0)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_basic"]
    id_token_signing_alg_values_supported: list[str] = ["RS256"]
    authorization_response_iss_parameter_supported: bool = False


@dataclass(frozen=True)
class Discovered:
    """What a provider publishes.

    Attributes:
        metadata: Its discovery document.
        keys: Its JSON Web Key Set.
        at: When both were fetched.
    """

    metadata: Metadata
    keys: dict[str, Any]
    at: datetime


async def discover(issuer: str, now: datetime) -> Discovered:
    """Fetch a provider's discovery document and its keys.

    Raises:
        ProviderUnavailable: If it cannot be reached, or is not one that the gate can use.
    """
    where = get_well_known_url(issuer, external=True)
    said = await _json("GET", where)
    try:
        metadata = Metadata.model_validate(said)
    except ValidationError as error:
        fields = ", ".join(sorted({str(each["loc"][0]) for each in error.errors()}))
        raise ProviderUnavailable(f"{where} is no discovery document; wrong or missing: {fields}") from error
    if metadata.issuer != issuer:
        raise ProviderUnavailable(f"{where} is of the issuer {metadata.issuer!r}; configure exactly this one")
    _check_endpoints(metadata)
    if not ALGORITHMS.intersection(metadata.id_token_signing_alg_values_supported):
        raise ProviderUnavailable(f"{where} names no signature of ID tokens that the gate checks")
    return Discovered(metadata, await _json("GET", metadata.jwks_uri), now)


def _check_endpoints(metadata: Metadata) -> None:
    required = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
    optional = (metadata.userinfo_endpoint, metadata.end_session_endpoint)
    try:
        for url in (*required, *filter(None, optional)):
            check_url(url, "An endpoint of the OpenID Connect provider")
    except ConfigurationError as error:
        raise ProviderUnavailable(str(error)) from error


class Provider:
    """The provider that a gate's settings name. Nothing is fetched before somebody signs in.

    Args:
        settings: How the gate is registered there.
        clock: Tells the time.
    """

    def __init__(self, settings: OidcSettings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._found: Discovered | None = None
        self._failed_at: datetime | None = None

    @property
    def may_end_sessions(self) -> bool:
        """Whether it has a place to sign out, as far as is known."""
        return self._found is None or self._found.metadata.end_session_endpoint is not None

    async def authorization_url(self, flow: Flow, *, again: bool = False) -> str:
        """Where the browser is sent to.

        Args:
            flow: The sign-in.
            again: Whether the provider shall ask who it is though it knows.

        Raises:
            ProviderUnavailable: If the provider is not known and cannot be asked.
        """
        metadata = (await self._discovered()).metadata
        client = OAuth2Client(
            session=None,
            client_id=self.settings.client_id,
            scope=" ".join(self.settings.scopes),
            redirect_uri=self.settings.redirect_uri,
            code_challenge_method="S256",
        )
        url, _ = client.create_authorization_url(
            metadata.authorization_endpoint,
            state=flow.state,
            code_verifier=flow.verifier,
            nonce=flow.nonce,
            prompt="login" if again else None,
        )
        return str(url)

    async def check_origin(self, issuer: str | None) -> None:
        """Check the parameter `iss` of an answer (RFC 9207): it did not come from another provider.

        Raises:
            NotBelieved: If it did, or does not say.
            ProviderUnavailable: If the provider is not known and cannot be asked.
        """
        promised = (await self._discovered()).metadata.authorization_response_iss_parameter_supported
        if issuer != self.settings.issuer and (issuer is not None or promised):
            raise NotBelieved("the answer's parameter iss is missing or names another issuer")

    async def claims(self, code: str, flow: Flow) -> dict[str, Any]:
        """Exchange a code for the claims about a person.

        Raises:
            NotBelieved: If the provider does not take the code, or its answer does not hold.
            ProviderUnavailable: If it cannot be reached.
        """
        found = await self._discovered()
        answer = await self._exchange(found.metadata, code, flow)
        id_token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise NotBelieved("the token endpoint's answer has no ID token or no access token")
        expected = Expected(
            issuer=self.settings.issuer,
            client_id=self.settings.client_id,
            nonce=flow.nonce,
            now=self._clock.now(),
            access_token=access_token,
            algorithms=found.metadata.id_token_signing_alg_values_supported,
        )
        try:
            claims = checked(id_token, found.keys, expected)
        except UnknownKey:
            claims = checked(id_token, (await self._discovered(newer_than=found.at)).keys, expected)
        if needed(self.settings) <= claims.keys() or not found.metadata.userinfo_endpoint:
            return claims
        return merged(claims, await self._userinfo(found.metadata.userinfo_endpoint, access_token, claims["sub"]))

    async def sign_out_url(self) -> str | None:
        """Where the browser ends its session at the provider (RP-Initiated Logout 1.0), if it has such a place.

        Raises:
            ProviderUnavailable: If the provider is not known and cannot be asked.
        """
        endpoint = (await self._discovered()).metadata.end_session_endpoint
        if endpoint is None:
            return None
        asked = {"client_id": self.settings.client_id, "post_logout_redirect_uri": self.settings.signed_out_uri}
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    async def _exchange(self, metadata: Metadata, code: str, flow: Flow) -> dict[str, Any]:
        offered = metadata.token_endpoint_auth_methods_supported
        basic = "client_secret_basic" in offered or "client_secret_post" not in offered
        asked = {"grant_type": "authorization_code", "code": code, "code_verifier": flow.verifier}
        body = urlencode({**asked, "redirect_uri": self.settings.redirect_uri})
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        auth = self._client_auth(basic=basic)
        url, headers, body = auth.prepare("POST", metadata.token_endpoint, headers, body)
        return await _json("POST", str(url), headers=headers, content=body)

    def _client_auth(self, *, basic: bool) -> ClientAuth:
        name, secret = self.settings.client_id, self.settings.client_secret
        if basic:  # RFC 6749, section 2.3.1, wants both encoded, which Authlib leaves to its caller
            return ClientAuth(quote(name, safe=""), quote(secret, safe=""), "client_secret_basic")
        return ClientAuth(name, secret, "client_secret_post")

    async def _userinfo(self, url: str, access_token: str, subject: str) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Authorization": f"Bearer {access_token}"}
        said = await _json("GET", url, headers=headers)
        if said.get("sub") != subject:  # OpenID Connect Core 1.0, section 5.3.2
            raise NotBelieved("the UserInfo endpoint speaks of another person than the ID token")
        return said

    async def _discovered(self, *, newer_than: datetime | None = None) -> Discovered:
        """What the provider publishes; fetched by one caller at a time, and kept."""
        async with self._one_at_a_time:
            now, kept = self._clock.now(), self._found
            wanted = newer_than is not None and kept is not None and kept.at <= newer_than
            if kept is not None and not wanted and now - kept.at < FRESH:
                return kept
            if self._failed_at is not None and timedelta(0) <= now - self._failed_at < PAUSE:
                if kept is not None:
                    return kept
                raise ProviderUnavailable("it failed a moment ago")
            try:
                self._found = await discover(self.settings.issuer, now)
            except ProviderUnavailable as error:
                self._failed_at = now
                if kept is None:
                    raise
                log.warning("the OpenID Connect provider's older documents are used: %s", error)
                return kept
            self._failed_at = None
            return self._found


def merged(claims: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """The claims of an ID token, and those of the UserInfo endpoint that it lacks.

    That an address is verified is said of the address beside it, and is not moved to another one.
    """
    if "email" in claims and claims["email"] != more.get("email"):
        more = {name: value for name, value in more.items() if name != "email_verified"}
    return {**more, **claims}


async def _json(method: str, url: str, **options: Any) -> dict[str, Any]:
    """The JSON object of a good answer. Redirects are not followed, and no more is read than is reasonable."""
    try:
        status, body = await asyncio.wait_for(_call(method, url, **options), _TIMEOUT)
    except asyncio.TimeoutError as error:
        raise ProviderUnavailable(f"{url}: no answer within {_TIMEOUT:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        raise ProviderUnavailable(f"{url}: {type(error).__name__}: {error}") from error
    try:
        said = from_json(body)
    except ValueError:
        said = None
    if 400 <= status < 500 and method == "POST":
        reason = said.get("error") if isinstance(said, dict) else None
        raise NotBelieved(f"{url} answered {status}: {str(reason)[:60]!r}")
    if not 200 <= status < 300:
        raise ProviderUnavailable(f"{url} answered {status}")
    if not isinstance(said, dict):
        raise ProviderUnavailable(f"{url} answered no JSON object")
    return said


async def _call(method: str, url: str, **options: Any) -> tuple[int, bytes]:
    async with (
        httpx.AsyncClient(timeout=_STEP, follow_redirects=False) as client,
        client.stream(method, url, **options) as response,
    ):
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > _LONGEST:
                raise ProviderUnavailable(f"{url}: the answer is longer than {_LONGEST} bytes")
        return response.status_code, bytes(body)
