"""Signing in at panva's OpenID provider, driven by hand: what works, and what an attacker would try."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from stacksona_adapters.server.service import accounts, sessions
from stacksona_adapters.server.service.accounts import Role
from tests.interop.conftest import ANN, Browser, Site, asked
from tests.server.inbox_tools import find_form, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.interop.node import Provider


def assert_refused(answer: httpx.Response, status: int, said: str) -> None:
    """Check that nobody was signed in, that the page says why and has the button, and nothing of a token."""
    assert answer.status_code == status, answer.text
    assert said in text_of(answer.text)
    assert "Sign in with Example ID" in text_of(answer.text)
    assert "stacksona_session" not in answer.headers.get("set-cookie", "")
    assert not re.search(r"eyJ|invalid_grant|Traceback|nonce", answer.text)


@pytest.mark.parametrize("claims_in_id_token", [False, True])
def test_signs_in(site: Site, provider: Provider, claims_in_id_token: bool) -> None:
    """Claims come from the UserInfo endpoint or in the ID token; the session is the reviewer's; the chain has it."""
    provider.change(claims_in_id_token=claims_in_id_token)
    browser = site.browser()
    answer = browser.sign_in(path="/inbox/sign-in/oidc?next=/inbox/account")

    assert (answer.status_code, answer.headers["location"]) == (303, "/inbox/account")
    assert browser.name() == "ann@example.com"
    said = {"issuer": provider.issuer, "subject": "ann", "name": "ann@example.com", "reviewer": "ann@example.com"}
    assert site.journal("sign_in.linked") == [{**said, "by": "ann@example.com"}]
    assert site.gate.service.verify_audit().ok


@pytest.mark.parametrize(("alg", "method"), [("ES256", "client_secret_post"), ("PS256", "client_secret_basic")])
def test_other_signatures(start: Callable[..., Site], provider: Provider, alg: str, method: str) -> None:
    """Elliptic curves, PSS, and the secret in the body."""
    provider.change(alg=alg, auth_method=method)
    site = start()
    site.gate.reviewer_token("ann@example.com")

    assert site.browser().sign_in().status_code == 303


def test_what_is_asked(site: Site) -> None:
    """Code flow, PKCE with S256, fresh state and nonce each time, and a cookie that scripts cannot read."""
    browser = site.browser()
    answer = browser.get("/inbox/sign-in/oidc")
    first, second = asked(answer.headers["location"]), asked(browser.begin())

    assert first["response_type"] == "code"
    assert first["code_challenge_method"] == "S256"
    assert first["redirect_uri"] == f"{site.gate.url}/inbox/sign-in/oidc/callback"
    assert first["scope"] == "openid email profile"
    assert all(first[name] != second[name] for name in ("state", "nonce", "code_challenge"))
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "max-age=600" in cookie


def test_behind_tls(site: Site) -> None:
    """Where a proxy says https, both cookies are Secure, and the flow's has the prefix that binds it to this host."""
    browser = site.browser()
    browser.http.headers["X-Forwarded-Proto"] = "https"
    answer = browser.get("/inbox/sign-in/oidc")
    cookie = answer.headers["set-cookie"]
    back = browser.back(answer.headers["location"])
    done = browser.http.get(back, headers={"Cookie": cookie.partition(";")[0]})

    assert cookie.startswith("__Host-stacksona_sign_in")
    assert {"secure", "path=/"} <= {part.strip().lower() for part in cookie.split(";")}
    assert done.status_code == 303
    for each in done.headers.get_list("set-cookie"):
        assert "secure" in each.lower()


def test_the_session_is_a_new_one(site: Site) -> None:
    """A cookie that was there before is no session afterwards, and a session that was is over."""
    browser = site.browser()
    browser.sign_in()
    port = site.gate.url.rpartition(":")[2]
    before = browser.http.cookies[f"stacksona_session_{port}"]
    browser.sign_in()
    after = browser.http.cookies[f"stacksona_session_{port}"]

    assert before != after
    assert site.gate.service.read(lambda read: sessions.find(read, before)) is None
    assert site.gate.service.read(lambda read: sessions.find(read, after)) is not None


@pytest.mark.parametrize("where", ["https://evil.example", "//evil.example", "/inbox\\@evil", "/inbox%0d%0aX: y"])
def test_leads_to_no_other_site(site: Site, where: str) -> None:
    """The page to go on to is one of this inbox."""
    answer = site.browser().sign_in(path=f"/inbox/sign-in/oidc?next={where}")

    assert answer.headers["location"] == "/inbox"


def test_wrong_state(site: Site) -> None:
    """A call back that this browser did not begin signs nobody in, whatever code it has."""
    victim, attacker = site.browser(), site.browser()
    victim.begin()
    theirs = attacker.back(attacker.begin())
    mine = victim.back(victim.begin())

    assert_refused(victim.finish(theirs), 401, "another window")
    assert_refused(site.browser().finish(mine), 401, "another window")
    assert_refused(victim.finish(mine), 401, "another window")  # the cookie is gone
    assert victim.name() is None


def test_wrong_nonce(site: Site) -> None:
    """An ID token that was made for another sign-in is refused, though its signature is good."""
    browser = site.browser()
    where = browser.begin()
    changed = where.replace(asked(where)["nonce"], "another-nonce")

    assert_refused(browser.finish(browser.back(changed)), 401, "does not hold")


def test_replayed_code(site: Site) -> None:
    """The same answer again, with the same cookie, is refused by the provider."""
    browser = site.browser()
    where = browser.back(browser.begin())
    name = f"stacksona_sign_in_{site.gate.url.rpartition(':')[2]}"
    kept = browser.http.cookies[name]
    assert browser.finish(where).status_code == 303
    again = site.browser()
    again.http.cookies.set(name, kept)

    assert_refused(again.finish(where), 401, "does not hold")


def test_injected_code(site: Site) -> None:
    """Another person's code in one's own sign-in fails: its PKCE challenge was another."""
    ann, bob = site.browser(), site.browser()
    stolen = asked(ann.back(ann.begin()))["code"]
    own = bob.back(bob.begin(), "bob")

    assert_refused(bob.finish(own.replace(asked(own)["code"], stolen)), 401, "does not hold")


@pytest.mark.parametrize("issuer", ["", "https://other.example"])
def test_answer_of_another_provider(site: Site, issuer: str) -> None:
    """The parameter iss must be there, as the provider promises it, and be the provider's (RFC 9207)."""
    browser = site.browser()
    where, _, said = browser.back(browser.begin()).partition("&iss=")
    assert said
    changed = f"{where}&iss={issuer}" if issuer else where

    assert_refused(browser.finish(changed), 401, "does not hold")


def test_too_late(site: Site) -> None:
    """After ten minutes the sign-in is over; an ID token whose time is over is refused too."""
    late, later = site.browser(), site.browser()
    where = late.back(late.begin())
    site.clock.advance(timedelta(minutes=11))
    assert_refused(late.finish(where), 401, "took too long")

    site.clock.advance(timedelta(hours=1))
    assert_refused(later.sign_in(), 401, "does not hold")


def test_cancelled_at_the_provider(site: Site) -> None:
    """Whoever does not sign in there is told to begin again."""
    browser = site.browser()
    page = browser.http.get(browser.begin(), follow_redirects=True)
    link = re.search(r'href="([^"]+/abort)"', page.text)
    assert link is not None
    where = browser.back(link[1])

    assert asked(where)["error"] == "access_denied"
    assert_refused(browser.finish(where), 401, "did not sign you in")


def test_unknown_person(site: Site) -> None:
    """Nobody of the name: refused, with the name to tell the admin, and the provider asks anew next time."""
    browser = site.browser()
    answer = browser.sign_in("bob")

    assert_refused(answer, 403, "'bob@example.com'")
    assert "again=yes" in answer.text
    site.gate.reviewer_token("Bob@Example.com")
    assert asked(browser.begin("/inbox/sign-in/oidc?again=yes"))["prompt"] == "login"
    assert browser.sign_in("bob", "/inbox/sign-in/oidc?again=yes").status_code == 303
    assert browser.name() == "Bob@Example.com"


def test_unknown_person_becomes_a_reviewer(start: Callable[..., Site]) -> None:
    """Where the operator wants it; the reviewer has a token that nobody has seen, so that revoking works."""
    site = start(domains=("example.com",), add_reviewers=True)
    browser = site.browser()

    assert browser.sign_in("bob").status_code == 303
    assert browser.name() == "bob@example.com"
    [added] = site.gate.service.list_reviewers()
    assert len(added.tokens) == 1
    site.gate.service.revoke_reviewer("bob@example.com")
    assert browser.name() is None
    assert_refused(site.browser().sign_in("bob"), 403, "revoked")


def test_revoked(site: Site) -> None:
    """Who was revoked does not get in, linked or not; a new token lets them in again."""
    site.browser().sign_in()
    site.gate.service.revoke_reviewer("ann@example.com")
    site.gate.reviewer_token("bob@example.com")
    site.gate.service.revoke_reviewer("bob@example.com")

    assert_refused(site.browser().sign_in(), 403, "revoked")
    assert_refused(site.browser().sign_in("bob"), 403, "revoked")
    site.gate.reviewer_token("ann@example.com")
    assert site.browser().sign_in().status_code == 303


@pytest.mark.parametrize("verified", [False, "true", 1, None])
def test_unverified_address(site: Site, provider: Provider, verified: object) -> None:
    """An address that the provider does not vouch for finds nobody."""
    provider.person("mallory", **{**ANN, "email_verified": verified})

    assert_refused(site.browser().sign_in("mallory"), 403, "has not verified")


def test_address_that_changes_hands(site: Site, provider: Provider) -> None:
    """The provider's id counts: a new address changes nothing, and a new owner of the old one gets nothing."""
    site.browser().sign_in()
    provider.person("ann", email="ann.new@example.com")
    provider.person("newcomer", **ANN)
    ann = site.browser()
    ann.sign_in()

    assert ann.name() == "ann@example.com"
    assert_refused(site.browser().sign_in("newcomer"), 403, "somebody else")
    assert len(site.journal("sign_in.linked")) == 1


def test_domains(start: Callable[..., Site], provider: Provider) -> None:
    """Only addresses of the allowed domains, to the letter."""
    site = start(domains=("example.com",), add_reviewers=True)
    provider.person("eve", email="eve@example.com.evil.example")
    provider.person("sub", email="sub@mail.example.com")

    for login in ("eve", "sub"):
        assert_refused(site.browser().sign_in(login), 403, "not allowed")
    assert site.browser().sign_in("bob").status_code == 303


def test_other_names(start: Callable[..., Site], provider: Provider) -> None:
    """Another claim can name the reviewer; it must be a name."""
    site = start(name_claim="preferred_username", domains=("example.com",), add_reviewers=True)
    provider.person("nameless", email="n@example.com")
    provider.person("odd", preferred_username="a\u202eb")
    browser = site.browser()
    browser.sign_in()

    assert browser.name() == "ann"
    for login in ("nameless", "odd"):
        assert_refused(site.browser().sign_in(login), 403, "does not say your preferred_username")


def test_groups_give_roles(start: Callable[..., Site], provider: Provider) -> None:
    """The strongest role of one's groups, at each sign-in; in none of them nobody gets in."""
    site = start(roles={"cn=gate,ou=admins": "admin", "audit": "auditor", "staff": "reviewer"}, add_reviewers=True)
    provider.person("ann", **ANN, groups=["audit", "cn=gate,ou=admins", "other"])
    provider.person("bob", email="bob@example.com", groups="audit")
    provider.person("eve", email="eve@example.com", groups=["other", "admin", 7])
    site.browser().sign_in("ann")
    site.browser().sign_in("bob")

    assert site.roles() == {"ann@example.com": "admin", "bob@example.com": "auditor"}
    assert_refused(site.browser().sign_in("eve"), 403, "None of your groups")

    provider.person("bob", email="bob@example.com", groups=["staff"])
    site.browser().sign_in("bob")
    assert site.roles()["bob@example.com"] == "reviewer"
    given = [(each["reviewer"], each["role"], each["by"]) for each in site.journal("reviewer.role_given")]
    assert ("bob@example.com", "reviewer", "oidc") in given


def test_groups_never_take_the_last_admin(start: Callable[..., Site], provider: Provider) -> None:
    """Whoever leaves the group of admins stays admin as long as there is no other one."""
    site = start(roles={"admins": "admin", "staff": "reviewer"}, add_reviewers=True)
    provider.person("ann", **ANN, groups=["admins"])
    site.browser().sign_in("ann")
    provider.person("ann", **ANN, groups=["staff"])
    site.browser().sign_in("ann")
    assert site.roles() == {"ann@example.com": "admin"}

    provider.person("bob", email="bob@example.com", groups=["admins"])
    site.browser().sign_in("bob")
    site.browser().sign_in("ann")
    assert site.roles() == {"ann@example.com": "reviewer", "bob@example.com": "admin"}


def test_new_keys_at_the_provider(site: Site, provider: Provider) -> None:
    """A key that the gate has not seen is fetched when it is met."""
    assert site.browser().sign_in().status_code == 303
    provider.change(rotate=True)

    assert site.browser().sign_in().status_code == 303


def test_provider_is_down(site: Site, provider: Provider) -> None:
    """The page says so, and passwords, links and tokens go on working; a gate starts without its provider."""
    token = site.gate.reviewer_token("ann@example.com")
    provider.stop()
    browser = site.browser()

    for _ in range(2):
        assert_refused(browser.get("/inbox/sign-in/oidc"), 503, "cannot be reached")
    headers = {"Sec-Fetch-Site": "same-origin"}
    answer = browser.http.post(f"{site.gate.url}/inbox/sign-in", data={"secret": token}, headers=headers)
    assert answer.headers["location"] == "/inbox"
    assert browser.name() == "ann@example.com"


def test_provider_goes_down_on_the_way(site: Site, provider: Provider) -> None:
    """Whoever comes back to a gate that cannot ask any more is told to try again."""
    browser = site.browser()
    where = browser.back(browser.begin())
    provider.stop()

    assert_refused(browser.finish(where), 503, "cannot be reached")


def test_throttled(site: Site) -> None:
    """Failed sign-ins count as others do, and good ones do not."""
    for _ in range(sessions.PER_ADDRESS - 1):
        browser = site.browser()
        assert browser.finish(broken(browser)).status_code == 401
    assert site.browser().sign_in().status_code == 303
    assert site.browser().sign_in("bob").status_code == 403

    answer = site.browser().sign_in()
    assert_refused(answer, 429, "try again later")
    assert int(answer.headers["retry-after"]) > 0


def broken(browser: Browser) -> str:
    """The address back to the gate, with a code that the provider does not know."""
    state = asked(browser.begin())["state"]
    return (
        f"{browser.site.gate.url}/inbox/sign-in/oidc/callback?code=x&state={state}&iss={browser.site.provider.issuer}"
    )


def test_only_the_provider(start: Callable[..., Site]) -> None:
    """With the switch passwords and tokens open no session; the API's tokens and sign-in links still work."""
    site = start(only=True)
    token = site.gate.reviewer_token("ann@example.com")
    made = accounts.Passwords().hash("correct horse battery")
    site.gate.service.write(lambda write: accounts.set_password_hash(write, "ann@example.com", made))
    browser = site.browser()
    page, headers = text_of(browser.get("/inbox/sign-in").text), {"Sec-Fetch-Site": "same-origin"}

    assert "With a password" not in page
    for entered in ({"secret": token}, {"name": "ann@example.com", "password": "correct horse battery"}):
        answer = browser.http.post(f"{site.gate.url}/inbox/sign-in", data=entered, headers=headers)
        assert answer.status_code == 401
    api = browser.http.get(f"{site.gate.url}/v1/reviews", headers={"Authorization": f"Bearer {token}"})
    assert api.status_code == 200
    secret = sessions.sign_in_link(site.gate.service, site.gate.url, "ann@example.com").partition("#")[2]
    answer = browser.http.post(f"{site.gate.url}/inbox/sign-in", data={"secret": secret}, headers=headers)
    assert answer.status_code == 303
    assert "password" not in text_of(browser.get("/inbox/account").text)


def test_sign_out(site: Site) -> None:
    """The gate's session ends; the provider's own is ended there, where it is asked for."""
    browser = site.browser()
    browser.sign_in()
    answer = browser.sign_out()

    assert answer.headers["location"] == "/inbox/sign-in?done=out"
    assert browser.name() is None
    assert "Sign out of Example ID too" in text_of(browser.get("/inbox/sign-in?done=out").text)
    where = browser.begin("/inbox/sign-in/oidc/sign-out")
    assert asked(where) == {"client_id": "gate", "post_logout_redirect_uri": f"{site.gate.url}/inbox/sign-in"}
    assert browser.http.get(where).status_code == 200


def test_unlinked(site: Site, provider: Provider) -> None:
    """After an admin has unlinked a reviewer, the person who has the name now is linked; both stand in the chain."""
    site.gate.service.write(lambda write: accounts.give_role(write, "ann@example.com", Role.ADMIN, by="operator"))
    provider.person("newcomer", **ANN)
    ann, newcomer = site.browser(), site.browser()
    ann.sign_in()
    assert newcomer.sign_in("newcomer").status_code == 403

    page = ann.get("/inbox/reviewers").text
    assert "ann@example.com at the provider" in text_of(page)
    form = find_form(page, "/inbox/reviewers/unlink")
    headers = {"Sec-Fetch-Site": "same-origin"}
    assert ann.http.post(site.gate.url + form.action, data=dict(form.values), headers=headers).status_code == 303

    assert newcomer.sign_in("newcomer", "/inbox/sign-in/oidc?again=yes").status_code == 303
    said = {"issuer": provider.issuer, "reviewer": "ann@example.com", "by": "ann@example.com"}
    assert site.journal("sign_in.unlinked") == [{**said, "subject": "ann"}]
    assert [each["subject"] for each in site.journal("sign_in.linked")] == ["ann", "newcomer"]
