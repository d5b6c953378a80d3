"""The options of `stacksona serve` for OpenID Connect: whole, or an error before anything starts."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from stacksona_adapters.cli.oidc import SECRET_VARIABLE
from tests.cli.test_serve import serving
from tests.cli.tools import command
from tests.docs.test_fences import ROOT, blocks
from tests.server.inbox_tools import text_of

WHOLE = {
    "STACKSONA_OIDC_ISSUER": "https://id.example.com",
    "STACKSONA_OIDC_CLIENT_ID": "gate",
    "STACKSONA_PUBLIC_URL": "https://gate.example.com",
    SECRET_VARIABLE: "s3cret",
}


@pytest.mark.parametrize("missing", sorted(WHOLE))
def test_half_a_configuration(tmp_path: Path, missing: str) -> None:
    """Whatever is missing is named, nothing starts, and no secret is printed."""
    given = {name: value for name, value in WHOLE.items() if name != missing}
    done = command("serve", "--port", 0, "--db", tmp_path / "gate.db", env=given)

    named = {SECRET_VARIABLE: "the client secret"}.get(missing)
    flag = named or "--" + missing.removeprefix("STACKSONA_").lower().replace("_", "-")
    assert (done.code, done.out) == (1, "")
    assert f"missing: {flag}" in done.err
    assert "s3cret" not in done.err
    assert not (tmp_path / "gate.db").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--oidc-role", "staff"], "GROUP=ROLE"),
        (["--oidc-role", "staff=boss"], "boss"),
        (["--oidc-role", "staff=admin", "--oidc-role", "staff=auditor"], "two roles"),
        (["--oidc-issuer", "http://id.example.com"], "https"),
        (["--oidc-domain", "@example.com"], "domain"),
        (["--oidc-scopes", "email"], "openid"),
        (["--oidc-client-secret-file", "nowhere"], "cannot be read"),
        (["--oidc-client-secret-file", __file__], "once"),
    ],
)
def test_wrong_options(tmp_path: Path, options: list[str], said: str) -> None:
    """A value that cannot be is an error at the start."""
    given = {name: value for name, value in WHOLE.items() if "nowhere" not in options or name != SECRET_VARIABLE}
    done = command("serve", "--port", 0, "--db", tmp_path / "gate.db", *options, env=given)

    assert (done.code, done.out) == (1, "")
    assert said in done.err


def test_what_the_page_shows(tmp_path: Path) -> None:
    """The configuration in docs/self-hosting.md makes the button that it says."""
    [shown] = [block for block in blocks(ROOT / "docs" / "self-hosting.md") if block.title == "oidc.toml"]
    (tmp_path / "oidc.toml").write_text(shown.text)
    options = ("--config", str(tmp_path / "oidc.toml"), "--oidc-client-secret-file", str(tmp_path / "secret"))
    (tmp_path / "secret").write_text("s3cret")
    with serving(tmp_path / "gate.db", *options) as gate:
        assert "Sign in with Example ID" in text_of(httpx.get(f"{gate.url}/inbox/sign-in").text)


def test_from_a_file(tmp_path: Path) -> None:
    """The configuration file and the secret's file make the button; the provider need not be there."""
    secret, config = tmp_path / "secret", tmp_path / "gate.toml"
    secret.write_text("s3cret\n")
    config.write_text(
        f"""
        public_url = "https://gate.example.com"
        oidc_issuer = "https://id.example.invalid"
        oidc_client_id = "gate"
        oidc_client_secret_file = {str(secret)!r}
        oidc_provider = "Example <b>ID</b>"
        oidc_domain = ["Example.com"]
        oidc_role = ["Domain Admins=admin", "cn=staff,dc=example=reviewer"]
        oidc_only = true
        """
    )
    with serving(tmp_path / "gate.db", "--config", str(config)) as gate:
        page = httpx.get(f"{gate.url}/inbox/sign-in").text
        start = httpx.get(f"{gate.url}/inbox/sign-in/oidc")
        code, out, err = gate.stop(signal.SIGTERM)

    assert "Sign in with" in page
    assert "Example &lt;b&gt;ID" in page
    assert "With a password" not in page
    assert start.status_code == 503
    assert code == 0
    assert "s3cret" not in out + err


def test_no_flag_takes_the_secret(tmp_path: Path) -> None:
    """A secret in a flag would be seen by every user of the machine, so there is none, and no line in the file."""
    flag = command("serve", "--port", 0, "--db", tmp_path / "gate.db", "--oidc-client-secret", "s3cret")
    (tmp_path / "gate.toml").write_text('oidc_client_secret = "s3cret"')
    line = command("serve", "--port", 0, "--db", tmp_path / "gate.db", "--config", tmp_path / "gate.toml")

    assert (flag.code, line.code) == (2, 2)
    assert "oidc_client_secret_file" in line.err


def test_unlink_nobody(tmp_path: Path) -> None:
    """A reviewer who is linked to nobody cannot be unlinked."""
    command("reviewer", "add", "ann", "--db", tmp_path / "gate.db")
    done = command("reviewer", "unlink", "ann", "--db", tmp_path / "gate.db")

    assert done.code == 1
    assert "No reviewer 'ann' is linked" in done.err
