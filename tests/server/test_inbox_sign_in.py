"""Signing in to the inbox: links, passwords, sessions, protection of every form, headers."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from stacksona_adapters.server.inbox import routes
from stacksona_adapters.server.service import accounts, sessions
from stacksona_adapters.server.service.accounts import Role
from tests.server.conftest import World, ask
from tests.server.inbox_tools import SAME, Form, Inbox, text_of

PASSWORD = "correct horse battery"


def sign_in(world: World, headers: dict[str, str] | None = None, **entered: str) -> Any:
    """Send the sign-in form; the answer."""
    return world.client().post("/inbox/sign-in", data=entered, headers=SAME if headers is None else headers)


def secret_of(inbox: Inbox) -> str:
    """The secret of a sign-in link."""
    return inbox.link.partition("#")[2]


def test_every_page_asks_to_sign_in(world: World) -> None:
    """Without a session no page shows anything, and afterwards the reviewer is where they wanted to go."""
    decision = ask(world.agent(), subject="secret order")
    for path in ("/inbox", f"/inbox/requests/{decision['id']}", "/inbox/account", "/inbox/anything"):
        answer = world.client().get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/inbox/sign-in?next=")
    ann = Inbox(world)

    done = sign_in(world, secret=secret_of(ann), next=f"/inbox/requests/{decision['id']}")

    assert done.headers["location"] == f"/inbox/requests/{decision['id']}"


@pytest.mark.parametrize("where", ["https://evil.example", "//evil.example", "/inbox\\@evil", "/inbox\n", "/v1/x", ""])
def test_goes_nowhere_else(world: World, where: str) -> None:
    """Signing in leads to a page of this inbox only."""
    assert sign_in(world, secret=secret_of(Inbox(world)), next=where).headers["location"] == "/inbox"


def test_link_is_used_up_by_signing_in_only(world: World) -> None:
    """Looking at the link's page uses nothing up; signing in does, once."""
    ann = Inbox(world)
    for _ in range(3):
        assert ann.http.get("/inbox/sign-in").status_code == 200
        assert ann.http.head("/inbox/sign-in").status_code == 200

    first, second = sign_in(world, secret=secret_of(ann)), sign_in(world, secret=secret_of(ann))

    assert (first.status_code, second.status_code) == (303, 401)
    assert "used before" in text_of(second.text)


def test_link_used_twice_at_once(world: World) -> None:
    """Of two who use a link at the same moment one gets in."""
    ann, answers = Inbox(world), []
    threads = [
        threading.Thread(target=lambda: answers.append(sign_in(world, secret=secret_of(ann)).status_code))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [303, 401, 401, 401]


def test_link_expires(world: World) -> None:
    """A link that nobody used in time signs nobody in."""
    ann = Inbox(world)
    world.advance(hours=24)

    assert sign_in(world, secret=secret_of(ann)).status_code == 401


def test_reviewers_token_signs_in_until_it_is_revoked(world: World) -> None:
    """A session that a token started ends when that token is revoked, others when the reviewer has none left."""
    first, second = world.service.add_reviewer("ann"), world.service.add_reviewer("ann")
    by_token, by_link = Inbox(world), Inbox(world).sign_in()
    assert by_token.http.post("/inbox/sign-in", data={"secret": first.token}).status_code == 303

    assert by_token.get("/inbox").status_code == 200
    world.service.revoke_reviewer(first.token_id)
    assert by_token.get("/inbox").status_code == 303
    assert by_link.get("/inbox").status_code == 200
    assert second.token
    world.service.revoke_reviewer("ann")
    assert by_link.get("/inbox").status_code == 303
    assert sign_in(world, secret=secret_of(by_token)).status_code == 401


def test_agents_key_signs_nobody_in(world: World) -> None:
    """An agent's key is not a way into the inbox."""
    assert sign_in(world, secret=world.service.add_agent("bot").key).status_code == 401


def test_session_ends(world: World) -> None:
    """A session ends when it is not used, after a week in any case, and by signing out."""
    idle, used, out = (Inbox(world).sign_in() for _ in range(3))
    sent = out.form("/inbox", "/sign-out")
    out.send(sent)
    assert out.get("/inbox").status_code == 303

    for _ in range(13):
        world.advance(hours=11)
        assert used.get("/inbox").status_code == 200
    assert idle.get("/inbox").status_code == 303
    world.advance(hours=11)
    used.get("/inbox")
    world.advance(hours=11)
    used.get("/inbox")
    world.advance(hours=11)
    assert used.get("/inbox").status_code == 303


def test_cookie(world: World) -> None:
    """No script reads the cookie, no other site sends it along with a form, and it is kept hashed."""
    ann = Inbox(world)
    answer = sign_in(world, secret=secret_of(ann))
    cookie = answer.headers["set-cookie"]

    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    value = re.search(r"=(ss_[^;]+)", cookie)
    assert value is not None
    with world.service.backend.reader.connect() as connection:
        kept = connection.exec_driver_sql("SELECT token_hash FROM sessions").scalars().all()
        links = connection.exec_driver_sql("SELECT token_hash FROM sign_in_links").scalars().all()
    assert value.group(1) not in kept
    assert secret_of(ann) not in links
    port = world.url.rpartition(":")[2]
    assert cookie.startswith(f"stacksona_session_{port}=")


FORGED = [
    ({"Sec-Fetch-Site": "cross-site"}, True),
    ({"Sec-Fetch-Site": "same-site"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Origin": "https://evil.example"}, True),
    ({"Origin": "null"}, True),
    ({}, True),
    (SAME, False),
]


@pytest.mark.parametrize(("headers", "with_token"), FORGED)
def test_forged_form_does_nothing(world: World, headers: dict[str, str], with_token: bool) -> None:
    """A form needs both: sent from these pages, and the session's own token."""
    ann, decision = Inbox(world).sign_in(), ask(world.agent())
    form = ann.form(f"/inbox/requests/{decision['id']}", "/decide", "Approve")
    del ann.http.headers["Sec-Fetch-Site"]
    values = {name: value for name, value in form.values if with_token or name != "csrf"}

    answer = ann.http.post(form.action, data=values, headers=headers)

    assert answer.status_code == 403
    assert world.reviewer("api").get(f"/v1/reviews/{decision['id']}").json()["status"] == "pending_review"


def test_token_of_another_session_does_nothing(world: World) -> None:
    """The token of one session's form is worth nothing in another."""
    ann, bob, decision = Inbox(world).sign_in(), Inbox(world, "bob").sign_in(), ask(world.agent())
    form = ann.form(f"/inbox/requests/{decision['id']}", "/decide", "Approve")

    assert bob.send(form).status_code == 403


def test_origin_stands_in_for_older_browsers(world: World) -> None:
    """A browser that does not send Sec-Fetch-Site is known by its Origin."""
    ann, decision = Inbox(world).sign_in(), ask(world.agent())
    form = ann.form(f"/inbox/requests/{decision['id']}", "/decide", "Approve")
    del ann.http.headers["Sec-Fetch-Site"]

    assert ann.http.post(form.action, data=dict(form.values), headers={"Origin": world.url}).status_code == 303


def test_sign_in_form_from_elsewhere(world: World) -> None:
    """Nobody is signed in as somebody else by another site's form."""
    answer = sign_in(world, {"Sec-Fetch-Site": "cross-site"}, secret=secret_of(Inbox(world)))

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_looking_decides_nothing(world: World) -> None:
    """No address of the inbox does anything when it is only opened."""
    ann, decision = Inbox(world, role=Role.ADMIN).sign_in(), ask(world.agent())
    posts = [r for r in routes() if "POST" in (getattr(r, "methods", None) or ())]
    assert len(posts) >= 10
    for route in posts:
        path = getattr(route, "path", "").replace("{decision_id}", decision["id"])
        if path == "/inbox/sign-in":
            continue
        for method in ("GET", "HEAD"):
            answer = ann.http.request(method, f"{path}?outcome=approve&confirmed=yes&chosen={decision['id']}")
            assert answer.status_code in (200, 404, 405), (method, path)

    now = world.reviewer("api").get(f"/v1/reviews/{decision['id']}").json()
    assert (now["status"], now["claimed_by"], now["notes"]) == ("pending_review", None, [])
    assert ann.get("/inbox").status_code == 200


def set_password(inbox: Inbox, password: str = PASSWORD, **fields: str) -> Any:
    """Fill in the form for a password."""
    form = inbox.form("/inbox/account", "/password")
    return inbox.send(form, **{"password": password, "again": password, **fields})


def test_password(world: World) -> None:
    """A reviewer sets a password, signs in with it, and changes it knowing the present one."""
    ann, other = Inbox(world).sign_in(), Inbox(world).sign_in()
    assert set_password(ann).status_code == 303
    assert other.get("/inbox").status_code == 303

    assert sign_in(world, name="ann", password=PASSWORD).status_code == 303
    assert sign_in(world, name="ann", password=PASSWORD + " ").status_code == 401
    assert set_password(ann, "another long password", current="wrong").status_code == 422
    assert set_password(ann, "another long password", current=PASSWORD).status_code == 303
    assert sign_in(world, name="ann", password=PASSWORD).status_code == 401
    assert sign_in(world, name="ann", password="another long password").status_code == 303
    with world.service.backend.reader.connect() as connection:
        assert connection.exec_driver_sql("SELECT password_hash FROM accounts").scalar_one().startswith("$argon2id$")


@pytest.mark.parametrize(
    ("fields", "said"), [({"password": "short", "again": "short"}, "12 to 200"), ({"again": "x"}, "not the same")]
)
def test_unusable_password(world: World, fields: dict[str, str], said: str) -> None:
    """A password that is too short or mistyped is not set, and the page says why."""
    answer = set_password(Inbox(world).sign_in(), **fields)

    assert answer.status_code == 422
    assert said in text_of(answer.text)


def test_revoked_reviewer_has_no_password(world: World) -> None:
    """Whoever has no token left does not sign in by a password either."""
    set_password(Inbox(world).sign_in())
    world.service.revoke_reviewer("ann")

    assert sign_in(world, name="ann", password=PASSWORD).status_code == 401


def test_guessing_is_slowed_down(world: World) -> None:
    """After some wrong passwords for a name even the right one waits, and others do not."""
    ann, bob = Inbox(world).sign_in(), Inbox(world, "bob").sign_in()
    set_password(ann)
    set_password(bob)

    wrong = [sign_in(world, name="ann", password=f"wrong {n}") for n in range(sessions.PER_NAME + 1)]

    assert [answer.status_code for answer in wrong] == [401] * sessions.PER_NAME + [429]
    assert 0 < int(wrong[-1].headers["retry-after"]) <= 900
    assert sign_in(world, name="ann", password=PASSWORD).status_code == 429
    assert sign_in(world, name="bob", password=PASSWORD).status_code == 303
    world.advance(minutes=16)
    assert sign_in(world, name="ann", password=PASSWORD).status_code == 303


def test_one_address_is_slowed_down(world: World) -> None:
    """Trying many names from one address, known or not, is slowed down alike."""
    answers = [sign_in(world, name=f"name {n}", password="x").status_code for n in range(sessions.PER_ADDRESS + 1)]

    assert answers == [401] * sessions.PER_ADDRESS + [429]


def test_a_name_that_is_not_there_reads_the_same(world: World) -> None:
    """Nothing tells a name that exists from one that does not."""
    set_password(Inbox(world).sign_in())

    known, unknown = sign_in(world, name="ann", password="x"), sign_in(world, name="zoe", password="x")

    assert known.status_code == unknown.status_code
    assert known.text == unknown.text


def test_headers(world: World) -> None:
    """Every page forbids scripts and styles that are not this gate's files, frames, and kept copies."""
    ann = Inbox(world).sign_in()
    for path in ("/inbox", "/inbox/sign-in", "/inbox/nothing", "/inbox/account", "/inbox/static/inbox.js"):
        headers = ann.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "style-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
    assert ann.get("/inbox").headers["cache-control"] == "no-store"


def test_pages_have_nothing_inline(world: World) -> None:
    """No page has a script, a style or an event handler of its own, or an address elsewhere."""
    ann, decision = Inbox(world, role=Role.ADMIN).sign_in(), ask(world.agent(), risk="high")
    for path in ("/inbox", "/inbox/sign-in", f"/inbox/requests/{decision['id']}", "/inbox/account"):
        page = ann.page(path)
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:", page)
        assert not re.search(r"(src|href|action)=\"(https?:)?//", page)


def test_htmx_is_sent_to_sign_in(world: World) -> None:
    """A part of a page that is asked for after the session ended leads to the sign-in page."""
    answer = world.client().get("/inbox", headers={"HX-Request": "true"})

    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/inbox/sign-in"
    assert world.client().get("/inbox/live", headers={"Accept": "text/event-stream"}).status_code == 401


def test_sign_out_elsewhere(world: World) -> None:
    """A reviewer ends their other sessions and keeps this one."""
    here, there, bob = Inbox(world).sign_in(), Inbox(world).sign_in(), Inbox(world, "bob").sign_in()

    here.send(here.form("/inbox/account", "/sign-out-others"))

    assert here.get("/inbox").status_code == 200
    assert there.get("/inbox").status_code == 303
    assert bob.get("/inbox").status_code == 200


def test_forms_are_refused_without_a_session(world: World) -> None:
    """Whoever is not signed in does nothing."""
    answer = Inbox(world).send(Form("/inbox/requests/dec_1/decide", [("outcome", "approve")]))

    assert (answer.status_code, answer.headers["location"]) == (303, "/inbox/sign-in")


def test_session_serves_the_reviewers_api(world: World) -> None:
    """The inbox's session reads the reviewer's API; it writes only with the session's token, from these pages."""
    ann, decision = Inbox(world).sign_in(), ask(world.agent())
    path, token = f"/v1/reviews/{decision['id']}", dict(ann.form("/inbox", "/sign-out").values)["csrf"]
    body = {"outcome": "approve"}

    assert ann.get(path).json()["status"] == "pending_review"
    assert ann.http.post(f"{path}/decide", json=body).status_code == 403
    elsewhere = {"X-CSRF-Token": token, "Sec-Fetch-Site": "cross-site"}
    assert ann.http.post(f"{path}/decide", json=body, headers=elsewhere).status_code == 403
    done = ann.http.post(f"{path}/decide", json=body, headers={"X-CSRF-Token": token})
    assert done.json()["reviewer_id"] == "ann"
    ann.send(ann.form("/inbox", "/sign-out"))
    assert ann.get(path).status_code == 401


def test_auditor_does_not_decide_by_the_api(world: World) -> None:
    """An auditor's token reads and exports, and decides nothing."""
    decision, token = ask(world.agent()), world.service.add_reviewer("eve").token
    world.service.write(lambda write: accounts.give_role(write, "eve", Role.AUDITOR, by="ann"))
    eve, path = world.client(token), f"/v1/reviews/{decision['id']}"

    assert eve.get(path).status_code == 200
    assert eve.get(f"{path}/export").status_code == 200
    for call, body in (("decide", {"outcome": "approve"}), ("claim", None), ("notes", {"text": "x"})):
        assert eve.post(f"{path}/{call}", json=body).status_code == 403


def test_cookie_behind_https(world: World) -> None:
    """Behind a proxy that ends https the cookie is for https alone."""
    headers = {**SAME, "X-Forwarded-Proto": "https"}

    assert "Secure" in sign_in(world, headers, secret=secret_of(Inbox(world))).headers["set-cookie"]
    assert "Secure" not in sign_in(world, secret=secret_of(Inbox(world))).headers["set-cookie"]
