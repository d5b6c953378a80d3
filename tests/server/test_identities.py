"""Who a person at the provider is at the gate, on both databases: linking, adding, roles, and two at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from stacksona_adapters.server.service import accounts, identities, sessions
from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.server.service.errors import NotFound, NotPermitted, Refusal
from stacksona_adapters.server.service.identities import Person

if TYPE_CHECKING:
    from tests.server.conftest import World

ISSUER = "https://id.example.com"


def person(subject: str = "1", name: str = "ann@example.com", role: Role | None = None) -> Person:
    """Somebody known by an e-mail address."""
    return Person(ISSUER, subject, name, any_case=True, role=role)


def sign_in(world: World, who: Person, *, add: bool = False) -> str | None:
    """Sign somebody in; the reviewer that they are."""
    secret = world.service.write(lambda write: identities.sign_in(write, who, add=add))
    found = world.service.read(lambda read: sessions.find(read, secret))
    return found.reviewer if found is not None else None


def test_the_link_counts_and_not_the_name(world: World) -> None:
    """The first sign-in links by name; later ones go by the link, of each provider apart."""
    world.service.add_reviewer("Ann@Example.com")

    assert sign_in(world, person()) == "Ann@Example.com"
    assert sign_in(world, person(name="other@example.com")) == "Ann@Example.com"
    with pytest.raises(NotPermitted, match="somebody else"):
        sign_in(world, person("2"))
    with pytest.raises(NotPermitted, match="no reviewer"):
        sign_in(world, person("3", "bob@example.com"))
    elsewhere = Person("https://other.example.com", "1", "ann@example.com", any_case=True)
    assert sign_in(world, elsewhere) == "Ann@Example.com"
    assert world.service.verify_audit().ok


def test_names_that_differ_in_capitals_only(world: World) -> None:
    """Two reviewers who could be meant are none; a claim that is no address is compared to the letter."""
    world.service.add_reviewer("ann@example.com")
    world.service.add_reviewer("Ann@example.com")

    with pytest.raises(NotPermitted, match="Several"):
        sign_in(world, person())
    exact = Person(ISSUER, "1", "Ann@example.com")
    assert sign_in(world, exact) == "Ann@example.com"


def test_added_at_the_first_sign_in(world: World) -> None:
    """Whoever is added can be revoked, and is not added again; a name that cannot be is refused."""
    assert sign_in(world, person(), add=True) == "ann@example.com"
    assert world.service.read(lambda read: accounts.role_of(read, "ann@example.com")) is Role.REVIEWER
    world.service.revoke_reviewer("ann@example.com")

    for who in (person(), person("2")):
        with pytest.raises(NotPermitted, match="revoked"):
            sign_in(world, who, add=True)
    with pytest.raises(Refusal):
        sign_in(world, Person(ISSUER, "3", "*"), add=True)


def test_the_same_person_twice_at_once(world: World) -> None:
    """Two first sign-ins at the same moment make one reviewer and one link."""
    done: list[str | None] = []
    ready = threading.Barrier(4)

    def play() -> None:
        ready.wait(20)
        done.append(sign_in(world, person(), add=True))

    threads = [threading.Thread(target=play) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert done == ["ann@example.com"] * 4
    assert world.service.read(identities.names) == {"ann@example.com": ["ann@example.com"]}
    [added] = world.service.list_reviewers()
    assert len(added.tokens) == 1


def test_roles_by_group(world: World) -> None:
    """Given at each sign-in, also over one given by hand; never the last admin's."""
    sign_in(world, person(role=Role.ADMIN), add=True)
    sign_in(world, person(role=Role.AUDITOR))
    assert world.service.read(lambda read: accounts.role_of(read, "ann@example.com")) is Role.ADMIN

    sign_in(world, person("2", "bob@example.com", Role.ADMIN), add=True)
    sign_in(world, person(role=Role.AUDITOR))
    assert world.service.read(lambda read: accounts.role_of(read, "ann@example.com")) is Role.AUDITOR


def test_unlinked(world: World) -> None:
    """Then the next person of the name is linked; nobody can be unlinked twice."""
    sign_in(world, person(), add=True)
    world.service.write(lambda write: identities.unlink(write, "ann@example.com", "root"))

    assert sign_in(world, person("2")) == "ann@example.com"
    with pytest.raises(NotFound):
        world.service.write(lambda write: identities.unlink(write, "nobody", "root"))


def test_without_a_provider(world: World) -> None:
    """A gate without one has no button, and its pages are not there."""
    browser = world.client()

    assert "Sign in with" not in browser.get("/inbox/sign-in").text.replace("Sign in with a", "")
    for path in ("", "/callback?code=x&state=y", "/sign-out"):
        assert browser.get(f"/inbox/sign-in/oidc{path}").status_code == 404
