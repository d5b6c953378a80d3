"""A browser without a screen: cookies, the headers that browsers send, forms filled in as the page has them."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import httpx

from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.server.service.sessions import sign_in_link

if TYPE_CHECKING:
    from tests.server.conftest import World

SAME = {"Sec-Fetch-Site": "same-origin"}


@dataclass
class Form:
    """A form of a page: where it goes and what it holds."""

    action: str
    values: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[str] = field(default_factory=list)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open: Form | None = None
        self._area: str | None = None
        self._select: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        if tag == "form":
            self._open = Form(has.get("action") or "")
            self.forms.append(self._open)
        elif self._open is not None and tag == "input" and has.get("name") and has.get("type") != "checkbox":
            self._open.values.append((str(has["name"]), has.get("value") or ""))
        elif tag == "textarea":
            self._area = has.get("name")
            if self._open is not None and self._area:
                self._open.values.append((self._area, ""))
        elif tag == "select":
            self._select = has.get("name")
        elif tag == "option" and self._open is not None and self._select and "selected" in has:
            self._open.values.append((self._select, has.get("value") or ""))

    def handle_data(self, data: str) -> None:
        if self._open is None:
            return
        if self._area:
            name, value = self._open.values.pop()
            self._open.values.append((name, value + (data.removeprefix("\n") if not value else data)))
        elif data.strip():
            self._open.buttons.append(data.strip())

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None
        elif tag == "textarea":
            self._area = None
        elif tag == "select":
            self._select = None


def forms(page: str) -> list[Form]:
    """The forms of a page."""
    parser = _Forms()
    parser.feed(page)
    return parser.forms


def text_of(page: str) -> str:
    """What a page says, without its tags."""
    apart = re.sub(r"</?(td|th|dt|dd|li|p|div|h[1-6]|option|button)\b[^>]*>", " ", page)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", "", apart)))


class Inbox:
    """Somebody who looks at the inbox."""

    def __init__(self, world: World, name: str = "ann", role: Role | None = None) -> None:
        self.world = world
        self.http = world.client()
        self.http.headers.update(SAME)
        known = {each.name for each in world.service.list_reviewers()}
        if name not in known:
            world.service.add_reviewer(name)
        self.link = sign_in_link(world.service, world.url, name, role=role)

    def sign_in(self) -> Inbox:
        """Use the link, as its page does."""
        answer = self.http.post("/inbox/sign-in", data={"secret": self.link.partition("#")[2]})
        assert (answer.status_code, answer.headers["location"]) == (303, "/inbox"), answer.text
        return self

    def get(self, path: str, **options: Any) -> httpx.Response:
        """A page."""
        return self.http.get(path, **options)

    def page(self, path: str) -> str:
        """A page that is there."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def form(self, path: str, action: str, button: str = "") -> Form:
        """The form of a page that goes somewhere."""
        return find_form(self.page(path), action, button)

    def send(self, form: Form, /, **changed: str) -> httpx.Response:
        """Send a form, with some fields changed (`__` in a name stands for `.`)."""
        values = dict(form.values) | {name.replace("__", "."): value for name, value in changed.items()}
        return self.http.post(form.action, data=values)


def find_form(page: str, action: str, button: str = "") -> Form:
    """The form of a page that goes somewhere, with a button of some name."""
    found = [each for each in forms(page) if each.action.endswith(action)]
    found = [each for each in found if not button or any(button in name for name in each.buttons)]
    assert found, f"no form for {action} {button}"
    return found[0]
