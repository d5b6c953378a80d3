"""`stacksona doctor`: is everything here fit to run a gate, an agent, a review."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stacksona_adapters._extras import extra, requirements
from stacksona_adapters.cli.database import opened, settings_for, shown_url, sqlite_file
from stacksona_adapters.cli.oidc import Issuer
from stacksona_adapters.cli.options import AsJson, Db, Token, Url
from stacksona_adapters.cli.output import Failed, counted, say, say_json
from stacksona_adapters.client.exchange import Attempt, drive, exchange
from stacksona_adapters.client.reviews import ReviewerClient
from stacksona_adapters.client.settings import Timeouts, load_settings
from stacksona_adapters.client.transport import Transport
from stacksona_adapters.errors import ConfigurationError, MissingExtra, StacksonaError, UnsupportedVersion
from stacksona_adapters.protocol.calls import Answer, Call, raise_for_status

if TYPE_CHECKING:
    from stacksona_adapters.server.service.gate import GateService

_PATIENCE = Timeouts(connect=3, read=5, write=5, total=5)
_MARKS = {"ok": "ok  ", "problem": "BAD ", "absent": "-   "}


@dataclass(frozen=True)
class Finding:
    """What one check found: `absent` is something that is not set up and need not be."""

    what: str
    state: Literal["ok", "problem", "absent"]
    detail: str


ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", envvar="STACKSONA_API_KEY", help="An agent's key (sg_...).", show_default=False),
]


def doctor(
    db: Db = None,
    url: Url = None,
    token: Token = None,
    api_key: ApiKey = None,
    oidc_issuer: Issuer = None,
    as_json: AsJson = False,
) -> None:
    """Check versions, database, gate, key, token and OpenID Connect provider; exit 1 where one would not work."""
    found = [*_versions(), *_database(db), *_gate(url, token, api_key), _provider(oidc_issuer)]
    problems = [finding for finding in found if finding.state == "problem"]
    if as_json:
        say_json({"ok": not problems, "checks": [asdict(finding) for finding in found]})
    else:
        width = max(len(finding.what) for finding in found)
        say(*(f"{_MARKS[finding.state]}{finding.what:<{width}}  {finding.detail}" for finding in found))
    if problems:
        raise Failed(f"{len(problems)} of {len(found)} checks found a problem: {', '.join(p.what for p in problems)}.")


def _versions() -> Iterator[Finding]:
    package = metadata.version("stacksona-adapters")
    yield Finding("stacksona-adapters", "ok", f"{package} on Python {platform.python_version()}")
    offered = metadata.metadata("stacksona-adapters").get_all("Provides-Extra") or []
    found = {name: _extra(name) for name in sorted(offered) if name != "all"}
    usable = {each.distribution for name, one in found.items() if one.state == "ok" for each in requirements(name)}
    for name, one in found.items():
        # Two extras may want different releases of one distribution: what serves the one is no fault of the other.
        served = one.state == "problem" and not usable.isdisjoint(each.distribution for each in requirements(name))
        yield replace(one, state="absent") if served else one


def _extra(name: str) -> Finding:
    try:
        with extra(name):
            return Finding(f"extra {name}", "ok", "installed, and in a supported version")
    except MissingExtra as error:
        return Finding(f"extra {name}", "absent", str(error))
    except UnsupportedVersion as error:
        # Without a distribution's name it is the Python that does not fit, which nobody need repair.
        return Finding(f"extra {name}", "problem" if error.name else "absent", str(error))
    except ConfigurationError as error:
        return Finding(f"extra {name}", "problem", str(error))


def _database(db: str | None) -> Iterator[Finding]:
    try:
        url = settings_for(db).database
    except ConfigurationError as error:
        yield Finding("database", "problem", str(error))
        return
    path = sqlite_file(url)
    if path is not None and not path.exists():
        yield Finding("database", "absent", f"{path} does not exist yet; `stacksona serve` makes it")
        return
    if path is not None and not os.access(path, os.R_OK | os.W_OK):
        yield Finding("database", "problem", f"{path} cannot be read and written by this user")
        return
    try:
        with opened(db) as service:
            agents, rules = len(service.list_agents()), len(service.list_rules())
            policies = _policies(service)
    except StacksonaError as error:
        yield Finding("database", "problem", str(error))
    else:
        yield Finding("database", "ok", f"{shown_url(url)}: {counted(agents, 'agent')}, {counted(rules, 'rule')}")
        yield from policies


def _policies(service: GateService) -> list[Finding]:
    """Whether somebody is left who may decide, whatever is asked."""
    from stacksona_adapters.server.service import policies

    gaps = service.read(policies.gaps)
    if gaps:
        return [Finding("policies", "problem", str(gap)) for gap in gaps]
    found = len(service.read(policies.list_policies))
    if not found:
        return [Finding("policies", "absent", "none: every reviewer decides on everything")]
    return [Finding("policies", "ok", f"{counted(found, 'policy', 'policies')}; somebody may decide on everything")]


def _gate(url: str | None, token: str | None, api_key: str | None) -> Iterator[Finding]:
    if not url:
        yield Finding("gate", "absent", "no --url and no STACKSONA_GATE_URL")
        return
    ready = _asks(url, api_key or "none", Call("GET", "/readyz", raise_for_status), "gate", f"{url} is ready")
    yield ready
    if ready.state == "problem":
        return
    if api_key:
        # An unknown decision is a 404 for a key that the gate knows.
        probe: Call[None] = Call("GET", "/v1/gate/decision/none", _known_key)
        yield _asks(url, api_key, probe, "agent key", "the gate knows it")
    else:
        yield Finding("agent key", "absent", "no --api-key and no STACKSONA_API_KEY")
    yield _reviewer(url, token)


def _known_key(answer: Answer) -> None:
    if answer.status_code != 404:
        raise_for_status(answer)


def _asks(url: str, key: str, call: Call[None], what: str, fine: str) -> Finding:
    try:
        settings = load_settings(url, key, "v1", _PATIENCE)
        transport = Transport(settings)
        try:
            drive(
                exchange(call, settings),
                lambda effect: transport.once(effect.call, effect.seconds, {}) if isinstance(effect, Attempt) else None,
            )
        finally:
            transport.close()
    except StacksonaError as error:
        return Finding(what, "problem", str(error).replace("; nothing ran", ""))
    return Finding(what, "ok", fine)


def _reviewer(url: str, token: str | None) -> Finding:
    if not token:
        return Finding("reviewer token", "absent", "no --token and no STACKSONA_REVIEWER_TOKEN")
    try:
        with ReviewerClient(url, token, timeouts=_PATIENCE) as client:
            waiting = sum(1 for _ in client.reviews())
    except StacksonaError as error:
        return Finding("reviewer token", "problem", str(error))
    return Finding("reviewer token", "ok", f"the gate knows it; {counted(waiting, 'new request')}")


def _provider(issuer: str | None) -> Finding:
    what = "sign-in provider"
    if not issuer:
        return Finding(what, "absent", "no --oidc-issuer and no STACKSONA_OIDC_ISSUER")
    from stacksona_adapters.server.oidc.errors import NotBelieved, ProviderUnavailable
    from stacksona_adapters.server.oidc.provider import discover
    from stacksona_adapters.server.oidc.settings import check_url
    from stacksona_adapters.server.oidc.tokens import key_set

    try:
        check_url(issuer, "The issuer")
        found = asyncio.run(discover(issuer, datetime.now(timezone.utc)))
        keys = len(list(key_set(found.keys)))
    except (ConfigurationError, ProviderUnavailable, NotBelieved) as error:
        return Finding(what, "problem", str(error))
    return Finding(what, "ok", f"{issuer} publishes its endpoints and {counted(keys, 'key')}")
