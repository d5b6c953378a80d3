"""A gate inside this process, for laptops, demos and tests: `with local_gate("gate.db") as gate:`.

Beside the database lie three small files: `.lock`, held by the process that serves it (the system gives it back when
that process dies, however it dies); `.serving`, where it serves; `.keys`, readable by the owner only, with the keys
that processes of this machine share.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.client.settings import Timeouts, load_settings
from stacksona_adapters.client.transport import Transport
from stacksona_adapters.errors import ConfigurationError, GateError
from stacksona_adapters.protocol.calls import Call, raise_for_status
from stacksona_adapters.server.run import EmbeddedGate
from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.server.service.gate import GateService
from stacksona_adapters.server.service.sessions import sign_in_link
from stacksona_adapters.server.settings import ServerSettings, database_url

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

REVIEWER = "reviewer"
"""The name under which the person at this machine decides."""

_LOOK_AGAIN = 0.1
_ALIVE = Timeouts(connect=1, read=2, write=2, total=2)


@contextmanager
def local_gate(
    path: str | os.PathLike[str] = "gate.db",
    *,
    agent: str = "agent",
    announce: Callable[[str], None] | None = None,
    **options: Any,
) -> Iterator[Gate]:
    """A connected `Gate` whose server runs in this process, or in another one that serves the same file already.

    The process that starts first serves the file, on 127.0.0.1 only; when it ends or is killed, one that has joined it,
    or the next one that comes, takes over on the same port. Requests, decisions and keys stay in the file.

    Args:
        path: The SQLite file; made where it does not exist.
        agent: The agent's stable name. Its key is made on first use and kept beside the file, for this user only.
        announce: Takes the line with the sign-in link, once, where this process serves; standard error by default.
        **options: Further arguments of `Gate`, such as `wait=`.

    Yields:
        The gate; `gate.aio` is its asynchronous face. Both are closed at the end of the block.

    Raises:
        ConfigurationError: If the file cannot be used, or the process that has it does not answer.
    """
    place = Place(path)
    with serving_or_joined(place) as served:
        key = place.agent_key(served.service, agent)
        if served.here:
            (announce or _to_standard_error)(f"Reviews: {place.sign_in_link(served)}")
        with Gate(agent, url=served.url, api_key=key, **options) as gate:
            yield gate


def _to_standard_error(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@dataclass(frozen=True)
class Served:
    """A running gate.

    Attributes:
        url: Its base URL.
        here: Whether it runs in this process.
        service: The gate without its web server, on the same file.
    """

    url: str
    here: bool
    service: GateService


class Place:
    """A database file and what lies beside it.

    Args:
        path: The SQLite file.

    Raises:
        ConfigurationError: If it is not a file's path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        url = database_url(os.fspath(path))
        if not url.startswith("sqlite:///"):
            raise ConfigurationError("A local gate keeps its data in one file: give a path.")
        self.file = Path(url.removeprefix("sqlite:///"))
        self.lock = ProcessLock(self._beside(".lock"))
        self._serving = self._beside(".serving")
        self._keys = self._beside(".keys")

    def _beside(self, ending: str) -> Path:
        return self.file.with_name(self.file.name + ending)

    @property
    def published_url(self) -> str | None:
        """Where the file is, or was, served."""
        url = _read_json(self._serving).get("url")
        return url if isinstance(url, str) else None

    def publish(self, url: str) -> None:
        """Tell the other processes where the file is served; the lock must be held."""
        _write_private(self._serving, {"url": url, "pid": os.getpid()})

    def withdraw(self) -> None:
        """Tell them that it is served no longer."""
        self._serving.unlink(missing_ok=True)

    def agent_key(self, service: GateService, agent: str) -> str:
        """The agent's key for the processes of this user; made and kept if there is none that the gate knows.

        Raises:
            ConfigurationError: If it was revoked; that is not undone by making another.
        """
        known = {key.id: key.revoked_at for each in service.list_agents() for key in each.keys}
        kept = self._kept("agents", agent, known)
        if kept is None:
            made = service.add_agent(agent)
            kept = self._keep("agents", agent, made.key_id, made.key)
        return kept

    def reviewer_token(self, service: GateService) -> str:
        """The token of the person at this machine; as `agent_key`."""
        known = {token.id: token.revoked_at for each in service.list_reviewers() for token in each.tokens}
        kept = self._kept("reviewers", REVIEWER, known)
        if kept is None:
            made = service.add_reviewer(REVIEWER)
            kept = self._keep("reviewers", REVIEWER, made.token_id, made.token)
        return kept

    def sign_in_link(self, served: Served) -> str:
        """A new link that signs the person at this machine in to the inbox, once, as an admin."""
        self.reviewer_token(served.service)  # from here on there is such a reviewer
        return sign_in_link(served.service, served.url, REVIEWER, role=Role.ADMIN)

    def _kept(self, kind: str, name: str, known: dict[str, Any]) -> str | None:
        entry = _read_json(self._keys).get(kind, {}).get(name)
        if not isinstance(entry, dict) or entry.get("id") not in known:
            return None  # none yet, or of a database that is gone
        if known[entry["id"]] is not None:
            raise ConfigurationError(
                f"The key of {name!r} for {self.file} was revoked. To make another, remove it from {self._keys}."
            )
        return str(entry["secret"])

    def _keep(self, kind: str, name: str, key_id: str, secret: str) -> str:
        kept = _read_json(self._keys)
        kept.setdefault(kind, {})[name] = {"id": key_id, "secret": secret}
        _write_private(self._keys, kept)
        return secret


@contextmanager
def serving_or_joined(place: Place, *, patience: float = 20.0) -> Iterator[Served]:
    """A gate on a file: served here where nobody else serves it.

    Args:
        place: The file.
        patience: Seconds that the process which has the file gets for an answer.

    Raises:
        ConfigurationError: If the process that has the file does not answer.
    """
    place.file.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    while not place.lock.acquire():
        url = place.published_url
        if url is not None and _answers(url):
            with _joined(place, url) as served:
                yield served
            return
        if time.monotonic() > deadline:
            raise ConfigurationError(f"Another process has {place.file} and its gate does not answer; end it first.")
        threading.Event().wait(_LOOK_AGAIN)
    with _serving(place, place.published_url) as served:
        yield served


@contextmanager
def _joined(place: Place, url: str) -> Iterator[Served]:
    """The gate of another process; when that one ends, this one serves, on the same port."""
    over = threading.Event()
    heir = threading.Thread(target=_inherit, args=(place, url, over), name="stacksona-heir", daemon=True)
    with GateService(ServerSettings(db_url=place.file)) as service:
        heir.start()
        try:
            yield Served(url, here=False, service=service)
        finally:
            over.set()
            heir.join()


def _inherit(place: Place, url: str, over: threading.Event) -> None:
    while not over.wait(_LOOK_AGAIN):
        if place.lock.acquire():
            with _serving(place, url):
                over.wait()


@contextmanager
def _serving(place: Place, earlier: str | None) -> Iterator[Served]:
    """Serve here; the lock is held, and given back at the end."""
    with contextlib.ExitStack() as stack:
        stack.callback(place.lock.release)
        place.withdraw()
        gate = _start(place, urlsplit(earlier).port if earlier else None)
        stack.callback(gate.stop)
        stack.callback(place.withdraw)
        service = stack.enter_context(GateService(gate.settings))
        place.publish(gate.url)
        yield Served(gate.url, here=True, service=service)


def _start(place: Place, port: int | None) -> EmbeddedGate:
    """The gate on the port of its forerunner, so that who waits for that one is answered by this one."""
    if port is not None:
        with contextlib.suppress(OSError):
            return EmbeddedGate(ServerSettings(db_url=place.file, port=port)).start()
    return EmbeddedGate(ServerSettings(db_url=place.file, port=0)).start()


def _answers(url: str) -> bool:
    settings = load_settings(url, "none", "v1", _ALIVE)
    transport = Transport(settings)
    try:
        raise_for_status(transport.once(Call("GET", "/healthz", raise_for_status), _ALIVE.total, {}))
    except GateError:
        return False
    finally:
        transport.close()
    return True


class ProcessLock:
    """A lock on a file that ends with the process that holds it.

    Args:
        path: The file; made where it does not exist, and left.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: int | None = None

    def acquire(self) -> bool:
        """Take it, without waiting; `False` where somebody else has it, also in this process."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock_file(handle)
        except OSError:
            os.close(handle)
            return False
        self._held = handle
        return True

    def release(self) -> None:
        """Give it back."""
        handle, self._held = self._held, None
        if handle is not None:
            os.close(handle)


def _lock_file(handle: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_private(path: Path, content: dict[str, Any]) -> None:
    """Replace a file at once by one that only its owner can read."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
    fresh.replace(path)
